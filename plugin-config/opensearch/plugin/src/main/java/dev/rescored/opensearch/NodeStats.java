package dev.rescored.opensearch;

import java.io.IOException;
import java.util.Map;
import org.opensearch.action.support.nodes.BaseNodeResponse;
import org.opensearch.cluster.node.DiscoveryNode;
import org.opensearch.core.common.io.stream.StreamInput;
import org.opensearch.core.common.io.stream.StreamOutput;

/** The statistics of one node. */
public final class NodeStats extends BaseNodeResponse {

    final Map<String, Object> stats;

    NodeStats(DiscoveryNode node, Map<String, Object> stats) {
        super(node);
        this.stats = stats;
    }

    NodeStats(StreamInput in) throws IOException {
        super(in);
        stats = in.readMap();
    }

    @Override
    public void writeTo(StreamOutput out) throws IOException {
        super.writeTo(out);
        out.writeMap(stats);
    }
}
