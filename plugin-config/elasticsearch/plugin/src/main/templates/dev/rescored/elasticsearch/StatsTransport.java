package dev.rescored.elasticsearch;

import dev.rescored.common.Sidecar;
import java.io.IOException;
import java.util.List;
import org.elasticsearch.action.FailedNodeException;
import org.elasticsearch.action.support.ActionFilters;
import org.elasticsearch.action.support.nodes.TransportNodesAction;
import org.elasticsearch.cluster.node.DiscoveryNode;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.injection.guice.Inject;
import org.elasticsearch.tasks.Task;
import org.elasticsearch.threadpool.ThreadPool;
import org.elasticsearch.transport.TransportService;

/** Asks the nodes for their statistics. */
public final class StatsTransport
        extends TransportNodesAction<ClusterStats.Request, ClusterStats, StatsTransport.NodeRequest, NodeStats, Void> {

    /** To one node; it says nothing. */
    public static final class NodeRequest extends ${elasticsearch.node.request} {

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
        super(ClusterStats.ACTION.name(), clusterService, transportService, filters, NodeRequest::new,
                threadPool.executor(ThreadPool.Names.MANAGEMENT));
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
    protected NodeStats newNodeResponse(StreamInput in, DiscoveryNode node) throws IOException {
        return new NodeStats(in, node);
    }

    @Override
    protected NodeStats nodeOperation(NodeRequest request, Task task) {
        return new NodeStats(clusterService.localNode(), sidecar.stats());
    }
}
