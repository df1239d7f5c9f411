package dev.rescored.opensearch;

import java.util.List;
import org.opensearch.core.common.Strings;
import org.opensearch.rest.BaseRestHandler;
import org.opensearch.rest.RestRequest;
import org.opensearch.rest.action.RestActions.NodesResponseRestListener;
import ${opensearch.client}.node.NodeClient;

/** {@code GET /_plugins/_rescored/stats}, or {@code /_plugins/_rescored/{nodes}/stats} for some of them. */
final class StatsHandler extends BaseRestHandler {

    @Override
    public String getName() {
        return "rescored_stats";
    }

    @Override
    public List<Route> routes() {
        return List.of(
                new Route(RestRequest.Method.GET, "/_plugins/_rescored/stats"),
                new Route(RestRequest.Method.GET, "/_plugins/_rescored/{nodes}/stats"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        ClusterStats.Request nodes = new ClusterStats.Request(Strings.splitStringByCommaToArray(request.param("nodes")));
        return channel -> client.execute(ClusterStats.ACTION, nodes, new NodesResponseRestListener<>(channel));
    }
}
