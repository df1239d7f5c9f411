package dev.rescored.elasticsearch;

import java.io.IOException;
import java.util.Map;
import org.elasticsearch.action.support.nodes.BaseNodeResponse;
import org.elasticsearch.cluster.node.DiscoveryNode;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;

/** The statistics of one node. */
public final class NodeStats extends BaseNodeResponse {

    final Map<String, Object> stats;

    NodeStats(DiscoveryNode node, Map<String, Object> stats) {
        super(node);
        this.stats = stats;
    }

    NodeStats(StreamInput in, DiscoveryNode node) throws IOException {
        super(in, node);
        stats = in.readGenericMap();
    }

    @Override
    public void writeTo(StreamOutput out) throws IOException {
        super.writeTo(out);
        out.writeGenericMap(stats);
    }
}
