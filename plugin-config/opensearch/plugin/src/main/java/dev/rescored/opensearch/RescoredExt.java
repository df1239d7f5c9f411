package dev.rescored.opensearch;

import dev.rescored.common.RerankOptions;
import java.io.IOException;
import java.util.Map;
import java.util.Objects;
import org.opensearch.core.common.ParsingException;
import org.opensearch.core.common.io.stream.StreamInput;
import org.opensearch.core.common.io.stream.StreamOutput;
import org.opensearch.core.xcontent.XContentBuilder;
import org.opensearch.core.xcontent.XContentParser;
import org.opensearch.search.SearchExtBuilder;

/** {@code "ext": {"rescored": {"query_text": …, "depth": 50, "enabled": true}}}: what one search says to the pipeline. */
final class RescoredExt extends SearchExtBuilder {

    static final String NAME = "rescored";

    /** Null where the search leaves it to the query. */
    final String queryText;
    /** Null where the search leaves it to the pipeline. */
    final Integer depth;
    final boolean enabled;

    RescoredExt(String queryText, Integer depth, boolean enabled) {
        this.queryText = queryText;
        this.depth = depth;
        this.enabled = enabled;
    }

    RescoredExt(StreamInput in) throws IOException {
        this(in.readOptionalString(), in.readOptionalInt(), in.readBoolean());
    }

    static RescoredExt parse(XContentParser parser) throws IOException {
        Map<String, Object> json = parser.map();
        Object queryText = json.remove("query_text");
        Object depth = json.remove("depth");
        Object enabled = json.remove("enabled");
        if (queryText != null && !(queryText instanceof String)) {
            throw fault(parser, "[query_text] is [" + queryText + "]; it must be a string");
        }
        if (depth != null && !(depth instanceof Integer number && number >= 1 && number <= RerankOptions.MAX_DEPTH)) {
            throw fault(parser, "[depth] is [" + depth + "]; it must be a whole number from 1 to " + RerankOptions.MAX_DEPTH);
        }
        if (enabled != null && !(enabled instanceof Boolean)) {
            throw fault(parser, "[enabled] is [" + enabled + "]; it must be true or false");
        }
        if (!json.isEmpty()) {
            throw fault(parser, "unknown " + json.keySet() + "; known are query_text, depth, enabled");
        }
        return new RescoredExt((String) queryText, (Integer) depth, !Boolean.FALSE.equals(enabled));
    }

    private static ParsingException fault(XContentParser parser, String what) {
        return new ParsingException(parser.getTokenLocation(), "ext.rescored: " + what);
    }

    @Override
    public void writeTo(StreamOutput out) throws IOException {
        out.writeOptionalString(queryText);
        out.writeOptionalInt(depth);
        out.writeBoolean(enabled);
    }

    @Override
    public XContentBuilder toXContent(XContentBuilder builder, Params params) throws IOException {
        builder.startObject(NAME);
        if (queryText != null) {
            builder.field("query_text", queryText);
        }
        if (depth != null) {
            builder.field("depth", depth);
        }
        return builder.field("enabled", enabled).endObject();
    }

    @Override
    public String getWriteableName() {
        return NAME;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof RescoredExt ext && Objects.equals(queryText, ext.queryText) && Objects.equals(depth, ext.depth) && enabled == ext.enabled;
    }

    @Override
    public int hashCode() {
        return Objects.hash(queryText, depth, enabled);
    }
}
