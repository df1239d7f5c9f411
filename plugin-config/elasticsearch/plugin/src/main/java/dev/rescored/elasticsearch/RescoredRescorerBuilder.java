package dev.rescored.elasticsearch;

import dev.rescored.common.RerankOptions;
import dev.rescored.common.Sidecar;
import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;
import org.elasticsearch.TransportVersion;
import org.elasticsearch.common.ParsingException;
import org.elasticsearch.common.io.stream.StreamInput;
import org.elasticsearch.common.io.stream.StreamOutput;
import org.elasticsearch.index.query.QueryRewriteContext;
import org.elasticsearch.index.query.SearchExecutionContext;
import org.elasticsearch.search.rescore.RescoreContext;
import org.elasticsearch.search.rescore.RescorerBuilder;
import org.elasticsearch.xcontent.XContentBuilder;
import org.elasticsearch.xcontent.XContentParser;

/**
 * {@code "rescore": {"window_size": 100, "rescored": {"query_text": …, "fields": […]}}} on its way to the shards.
 *
 * <p>It is kept and sent as the JSON that it was: every node reads it anew, so that a node of another version refuses
 * what it does not know by name.
 */
final class RescoredRescorerBuilder extends RescorerBuilder<RescoredRescorerBuilder> {

    static final String NAME = "rescored";

    private final Map<String, Object> json;
    private final RerankOptions options;
    private final Supplier<Sidecar> sidecar;

    private RescoredRescorerBuilder(Map<String, Object> json, Supplier<Sidecar> sidecar) {
        this.json = json;
        this.options = RerankOptions.ofRescorer(new HashMap<>(json));
        this.sidecar = sidecar;
    }

    RescoredRescorerBuilder(StreamInput in, Supplier<Sidecar> sidecar) throws IOException {
        super(in);
        this.json = in.readGenericMap();
        this.options = RerankOptions.ofRescorer(new HashMap<>(json));
        this.sidecar = sidecar;
    }

    static RescoredRescorerBuilder parse(XContentParser parser, Supplier<Sidecar> sidecar) throws IOException {
        try {
            return new RescoredRescorerBuilder(parser.map(), sidecar);
        } catch (IllegalArgumentException fault) {
            throw new ParsingException(parser.getTokenLocation(), fault.getMessage(), fault);
        }
    }

    @Override
    protected void doWriteTo(StreamOutput out) throws IOException {
        out.writeGenericMap(json);
    }

    @Override
    protected void doXContent(XContentBuilder builder, Params params) throws IOException {
        builder.field(NAME, json);
    }

    @Override
    protected RescoreContext innerBuildContext(int windowSize, SearchExecutionContext context) {
        return new RescoredRescorer.Context(windowSize, options, sidecar.get(), context.lookup());
    }

    @Override
    public String getWriteableName() {
        return NAME;
    }

    @Override
    public TransportVersion getMinimalSupportedVersion() {
        return TransportVersion.zero();
    }

    @Override
    public RescoredRescorerBuilder rewrite(QueryRewriteContext context) {
        return this;
    }

    @Override
    public boolean equals(Object other) {
        return super.equals(other) && json.equals(((RescoredRescorerBuilder) other).json);
    }

    @Override
    public int hashCode() {
        return Objects.hash(super.hashCode(), json);
    }
}
