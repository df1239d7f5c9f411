package dev.rescored.elasticsearch;

import java.util.List;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.common.Strings;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.action.RestActions.NodesResponseRestListener;

/** {@code GET /_rescored/stats}, or {@code /_rescored/{nodes}/stats} for some of them. */
final class StatsHandler extends BaseRestHandler {

    @Override
    public String getName() {
        return "rescored_stats";
    }

    @Override
    public List<Route> routes() {
        return List.of(
                new Route(RestRequest.Method.GET, "/_rescored/stats"),
                new Route(RestRequest.Method.GET, "/_rescored/{nodes}/stats"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        ClusterStats.Request nodes = new ClusterStats.Request(Strings.splitStringByCommaToArray(request.param("nodes")));
        return channel -> client.execute(ClusterStats.ACTION, nodes, new NodesResponseRestListener<>(channel));
    }
}
