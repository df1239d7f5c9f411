package dev.rescored.opensearch;

import dev.rescored.common.RerankOptions;
import dev.rescored.common.Sidecar;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.opensearch.action.search.SearchRequest;
import org.opensearch.core.common.bytes.BytesReference;
import org.opensearch.core.xcontent.DeprecationHandler;
import org.opensearch.core.xcontent.MediaTypeRegistry;
import org.opensearch.core.xcontent.NamedXContentRegistry;
import org.opensearch.core.xcontent.ToXContent;
import org.opensearch.core.xcontent.XContentHelper;
import org.opensearch.core.xcontent.XContentParser;
import org.opensearch.index.query.QueryBuilder;
import org.opensearch.search.SearchExtBuilder;
import org.opensearch.search.SearchService;
import org.opensearch.search.builder.SearchSourceBuilder;
import org.opensearch.search.fetch.StoredFieldsContext;
import org.opensearch.search.fetch.subphase.FetchSourceContext;
import org.opensearch.search.pipeline.PipelineProcessingContext;
import org.opensearch.search.pipeline.SearchRequestProcessor;
import org.opensearch.search.sort.ScoreSortBuilder;
import org.opensearch.search.sort.SortBuilder;
import org.opensearch.search.sort.SortOrder;

/**
 * The request half of the pipeline: has the engine fetch {@code depth} hits from the first on, with the text that is
 * needed, and leaves a {@link RerankPlan} that says which page the caller wants.
 */
record RequestHalf(String getTag, String getDescription, boolean isIgnoreFailure, RerankOptions options, Sidecar sidecar)
        implements SearchRequestProcessor {

    static final String TYPE = "rescored";

    @Override
    public String getType() {
        return TYPE;
    }

    @Override
    public SearchRequest processRequest(SearchRequest request) {
        throw new IllegalStateException("a search pipeline gives its context");
    }

    @Override
    public SearchRequest processRequest(SearchRequest request, PipelineProcessingContext context) throws IOException {
        SearchSourceBuilder source = request.source();
        RescoredExt ext = takeExt(source);
        int size = source == null || source.size() < 0 ? SearchService.DEFAULT_SIZE : source.size();
        if (ext != null && !ext.enabled || size == 0) {
            return request;
        }
        RerankPlan plan = plan(request, source, ext, size);
        if (plan.skip() != null) {
            if (plan.onFailure(sidecar) == RerankOptions.OnFailure.FAIL) {
                throw Warnings.refused(plan.skip());
            }
        } else if (plan.from() < plan.depth()) {
            source.from(0).size(Math.max(plan.depth(), plan.from() + plan.size()));
            fetchText(source);
        }
        context.setAttribute(RerankPlan.ATTRIBUTE, plan);
        return request;
    }

    /** Removes what is meant for this processor: a data node without the plugin could not read it. */
    private static RescoredExt takeExt(SearchSourceBuilder source) {
        RescoredExt found = null;
        List<SearchExtBuilder> others = new ArrayList<>();
        for (SearchExtBuilder ext : source == null ? List.<SearchExtBuilder>of() : source.ext()) {
            if (ext instanceof RescoredExt ours) {
                found = ours;
            } else {
                others.add(ext);
            }
        }
        if (found != null) {
            source.ext(others);
        }
        return found;
    }

    private RerankPlan plan(SearchRequest request, SearchSourceBuilder source, RescoredExt ext, int size) throws IOException {
        String hindrance = hindrance(request, source);
        if (hindrance != null) {
            return RerankPlan.skipping(options, hindrance);
        }
        String text = ext != null && ext.queryText != null ? ext.queryText : textOf(source.query());
        if (text.isBlank()) {
            return RerankPlan.skipping(options, "the query has no text to rerank by; give ext.rescored.query_text");
        }
        int depth = ext != null && ext.depth != null ? ext.depth : options.depth();
        Duration timeout = source.timeout() == null ? null : Duration.ofMillis(source.timeout().millis());
        return new RerankPlan(options, text, depth, Math.max(0, source.from()), size, null, callersSource(source), timeout);
    }

    /** Why this search cannot be reranked, or null. */
    private static String hindrance(SearchRequest request, SearchSourceBuilder source) {
        if (source == null) {
            return "the query has no text to rerank by; give ext.rescored.query_text";
        }
        if (request.scroll() != null) {
            return "a scroll reads hits in the engine's order; search by [from] and [size]";
        }
        if (source.searchAfter() != null) {
            return "[search_after] goes on in the engine's order; page by [from] and [size]";
        }
        List<SortBuilder<?>> sorts = source.sorts();
        if (sorts != null && !sorts.isEmpty() && !(sorts.get(0) instanceof ScoreSortBuilder first && first.order() == SortOrder.DESC)) {
            return "the search is sorted by something other than its score; leave [sort] out, or let it begin with [_score]";
        }
        StoredFieldsContext stored = source.storedFields();
        if (stored != null && !stored.fetchFields()) {
            return "[stored_fields] is [_none_], so no text is fetched; leave it out";
        }
        return null;
    }

    private static String textOf(QueryBuilder query) throws IOException {
        if (query == null) {
            return "";
        }
        BytesReference bytes = XContentHelper.toXContent(query, MediaTypeRegistry.JSON, ToXContent.EMPTY_PARAMS, false);
        try (XContentParser parser = MediaTypeRegistry.JSON.xContent().createParser(
                NamedXContentRegistry.EMPTY, DeprecationHandler.IGNORE_DEPRECATIONS, bytes.streamInput())) {
            return QueryText.of((Object) parser.map()).orElse("");
        }
    }

    /** What the caller wants of {@code _source}, or null when that is all of it. */
    private static FetchSourceContext callersSource(SearchSourceBuilder source) {
        FetchSourceContext wanted = source.fetchSource();
        if (wanted == null) {
            // Fields that are named leave the source out.
            return source.storedFields() == null ? null : FetchSourceContext.DO_NOT_FETCH_SOURCE;
        }
        boolean all = wanted.fetchSource() && wanted.includes().length == 0 && wanted.excludes().length == 0;
        return all ? null : wanted;
    }

    /** The caller's part of the source and the fields of the text; {@link Page} takes away again what the caller did not want. */
    private void fetchText(SearchSourceBuilder source) {
        FetchSourceContext wanted = callersSource(source);
        if (wanted == null) {
            return;
        }
        Set<String> paths = new LinkedHashSet<>(options.template().fields());
        if (wanted.fetchSource() && wanted.includes().length == 0) {
            paths.clear();
        } else if (wanted.fetchSource()) {
            paths.addAll(List.of(wanted.includes()));
        }
        source.fetchSource(new FetchSourceContext(true, paths.toArray(String[]::new), new String[0]));
    }
}
