package dev.rescored.opensearch;

import java.io.IOException;
import java.util.List;
import org.opensearch.action.ActionType;
import org.opensearch.action.FailedNodeException;
import org.opensearch.action.support.nodes.BaseNodesRequest;
import org.opensearch.action.support.nodes.BaseNodesResponse;
import org.opensearch.cluster.ClusterName;
import org.opensearch.core.common.io.stream.StreamInput;
import org.opensearch.core.common.io.stream.StreamOutput;
import org.opensearch.core.xcontent.ToXContentFragment;
import org.opensearch.core.xcontent.XContentBuilder;

/** The statistics of all nodes that have the plugin. */
public final class ClusterStats extends BaseNodesResponse<NodeStats> implements ToXContentFragment {

    /** Under {@code cluster:monitor}, which roles that watch a cluster have. */
    static final ActionType<ClusterStats> ACTION = new ActionType<>("cluster:monitor/rescored/stats", ClusterStats::new);

    /** For these nodes, or all. */
    public static final class Request extends BaseNodesRequest<Request> {

        Request(String... nodes) {
            super(nodes);
        }

        Request(StreamInput in) throws IOException {
            super(in);
        }
    }

    ClusterStats(ClusterName cluster, List<NodeStats> nodes, List<FailedNodeException> failures) {
        super(cluster, nodes, failures);
    }

    ClusterStats(StreamInput in) throws IOException {
        super(in);
    }

    @Override
    protected List<NodeStats> readNodesFrom(StreamInput in) throws IOException {
        return in.readList(NodeStats::new);
    }

    @Override
    protected void writeNodesTo(StreamOutput out, List<NodeStats> nodes) throws IOException {
        out.writeList(nodes);
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
