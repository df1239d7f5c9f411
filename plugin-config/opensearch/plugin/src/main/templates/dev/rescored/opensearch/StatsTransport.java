package dev.rescored.opensearch;

import dev.rescored.common.Sidecar;
import java.io.IOException;
import java.util.List;
import org.opensearch.action.FailedNodeException;
import org.opensearch.action.support.ActionFilters;
import org.opensearch.action.support.nodes.TransportNodesAction;
import org.opensearch.cluster.service.ClusterService;
import org.opensearch.common.inject.Inject;
import org.opensearch.core.common.io.stream.StreamInput;
import org.opensearch.threadpool.ThreadPool;
import org.opensearch.transport.TransportService;

/** Asks the nodes for their statistics. */
// 2.19 asks for a class that it means to remove; 3.x has another.
@SuppressWarnings("deprecation")
public final class StatsTransport
        extends TransportNodesAction<ClusterStats.Request, ClusterStats, StatsTransport.NodeRequest, NodeStats> {

    /** To one node; it says nothing. */
    public static final class NodeRequest extends ${opensearch.node.request} {

        NodeRequest() {}

        NodeRequest(StreamInput in) throws IOException {
            super(in);
        }
    }

    private final Sidecar sidecar;

    /** By the node, which knows the components of the plugin. */
    @Inject
    public StatsTransport(
            ThreadPool threadPool, ClusterService clusterService, TransportService transportService, ActionFilters filters, Sidecar sidecar) {
        super(ClusterStats.ACTION.name(), threadPool, clusterService, transportService, filters,
                ClusterStats.Request::new, NodeRequest::new, ThreadPool.Names.SAME, NodeStats.class);
        this.sidecar = sidecar;
    }

    @Override
    protected ClusterStats newResponse(ClusterStats.Request request, List<NodeStats> nodes, List<FailedNodeException> failures) {
        return new ClusterStats(clusterService.getClusterName(), nodes, failures);
    }

    @Override
    protected NodeRequest newNodeRequest(ClusterStats.Request request) {
        return new NodeRequest();
    }

    @Override
    protected NodeStats newNodeResponse(StreamInput in) throws IOException {
        return new NodeStats(in);
    }

    @Override
    protected NodeStats nodeOperation(NodeRequest request) {
        return new NodeStats(clusterService.localNode(), sidecar.stats());
    }
}
