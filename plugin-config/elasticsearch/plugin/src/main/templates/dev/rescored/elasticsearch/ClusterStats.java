package dev.rescored.elasticsearch;

import java.io.IOException;
import java.util.List;
import org.elasticsearch.action.ActionType;
import org.elasticsearch.action.FailedNodeException;
import org.elasticsearch.action.support.TransportAction;
import org.elasticsearch.action.support.nodes.BaseNodesRequest;
import org.elasticsearch.action.support.nodes.BaseNodesResponse;
import org.elasticsearch.cluster.ClusterName;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.xcontent.ToXContentFragment;
import org.elasticsearch.xcontent.XContentBuilder;

/** The statistics of all nodes that have the plugin; never sent as a whole, each node answers for itself. */
public final class ClusterStats extends BaseNodesResponse<NodeStats> implements ToXContentFragment {

    /** Under {@code cluster:monitor}, which roles that watch a cluster have. */
    static final ActionType<ClusterStats> ACTION = new ActionType<>("cluster:monitor/rescored/stats");

    /** For these nodes, or all. */
    public static final class Request extends ${elasticsearch.nodes.request} {

        Request(String... nodes) {
            super(nodes);
        }
    }

    ClusterStats(ClusterName cluster, List<NodeStats> nodes, List<FailedNodeException> failures) {
        super(cluster, nodes, failures);
    }

    @Override
    protected List<NodeStats> readNodesFrom(StreamInput in) {
        return TransportAction.localOnly();
    }

    @Override
    protected void writeNodesTo(StreamOutput out, List<NodeStats> nodes) {
        TransportAction.localOnly();
    }

    @Override
    public XContentBuilder toXContent(XContentBuilder builder, Params params) throws IOException {
        builder.startObject("nodes");
        for (NodeStats node : getNodes()) {
            builder.startObject(node.getNode().getId()).field("name", node.getNode().getName());
            builder.mapContents(node.stats);
            builder.endObject();
        }
        return builder.endObject();
    }
}
