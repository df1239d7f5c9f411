package dev.rescored.opensearch;

import dev.rescored.common.PassageTemplate;
import dev.rescored.common.Scores;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.lucene.search.SortField;
import org.opensearch.action.search.SearchResponse;
import org.opensearch.action.search.SearchResponseSections;
import org.opensearch.common.xcontent.XContentFactory;
import org.opensearch.common.xcontent.support.XContentMapValues;
import org.opensearch.core.common.bytes.BytesReference;
import org.opensearch.core.xcontent.XContentBuilder;
import org.opensearch.search.SearchHit;
import org.opensearch.search.SearchHits;
import org.opensearch.search.aggregations.InternalAggregations;
import org.opensearch.search.fetch.subphase.FetchSourceContext;
import org.opensearch.search.internal.InternalSearchResponse;
import org.opensearch.search.profile.SearchProfileShardResults;

/** The caller's page of a response, all else in it as it was. */
final class Page {

    private Page() {}

    /** The texts of the first hits. */
    static List<String> texts(SearchHit[] hits, int count, PassageTemplate template) {
        return Arrays.stream(hits, 0, count).map(hit -> {
            Map<String, Object> source = hit.hasSource() ? hit.getSourceAsMap() : Map.of();
            return template.text(path -> XContentMapValues.extractRawValues(path, source));
        }).toList();
    }

    /**
     * The hits reordered by scores, of which there are as many as hits were reranked; the others follow in their order,
     * with lower scores.
     */
    static SearchResponse reranked(SearchResponse response, float[] scores, RerankPlan plan) throws IOException {
        SearchHit[] hits = response.getHits().getHits();
        float[] all = new float[hits.length];
        for (int n = 0; n < hits.length; n++) {
            all[n] = n < scores.length
                    ? Scores.combined(hits[n].getScore(), scores[n], plan.options().weight())
                    : Scores.notReranked(hits[n].getScore());
        }
        for (int n = 0; n < hits.length; n++) {
            hits[n].score(all[n]);
        }
        return cut(response, Scores.order(all), plan);
    }

    /** The caller's page in the engine's order. */
    static SearchResponse unchanged(SearchResponse response, RerankPlan plan) throws IOException {
        int[] order = new int[response.getHits().getHits().length];
        Arrays.setAll(order, place -> place);
        return cut(response, order, plan);
    }

    /** A page that begins beyond the depth: the engine's own, its scores below those of the pages before. */
    static SearchResponse beyond(SearchResponse response) {
        for (SearchHit hit : response.getHits().getHits()) {
            hit.score(Scores.notReranked(hit.getScore()));
        }
        SearchHits hits = response.getHits();
        // The best hit's new score is not known here.
        return with(response, new SearchHits(
                hits.getHits(), hits.getTotalHits(), Float.NaN, hits.getSortFields(), hits.getCollapseField(), hits.getCollapseValues()));
    }

    private static SearchResponse cut(SearchResponse response, int[] order, RerankPlan plan) throws IOException {
        SearchHits all = response.getHits();
        int from = Math.min(plan.from(), order.length);
        int to = Math.min(from + plan.size(), order.length);
        SearchHit[] page = new SearchHit[to - from];
        Object[] collapsed = all.getCollapseValues() == null ? null : new Object[to - from];
        for (int n = from; n < to; n++) {
            page[n - from] = all.getHits()[order[n]];
            if (collapsed != null) {
                collapsed[n - from] = all.getCollapseValues()[order[n]];
            }
            leaveCallersSource(page[n - from], plan.callersSource());
        }
        // A search that is sorted has no highest score unless it asked for one.
        boolean hasMax = order.length > 0 && !Float.isNaN(all.getMaxScore());
        float max = hasMax ? all.getHits()[order[0]].getScore() : all.getMaxScore();
        SortField[] sorts = all.getSortFields();
        return with(response, new SearchHits(page, all.getTotalHits(), max, sorts, all.getCollapseField(), collapsed));
    }

    private static void leaveCallersSource(SearchHit hit, FetchSourceContext wanted) throws IOException {
        if (wanted == null || !hit.hasSource()) {
            return;
        }
        if (!wanted.fetchSource()) {
            hit.sourceRef(null);
            return;
        }
        Map<String, Object> left = XContentMapValues.filter(hit.getSourceAsMap(), wanted.includes(), wanted.excludes());
        try (XContentBuilder json = XContentFactory.jsonBuilder()) {
            hit.sourceRef(BytesReference.bytes(json.map(left)));
        }
    }

    private static SearchResponse with(SearchResponse response, SearchHits hits) {
        SearchResponseSections former = response.getInternalResponse();
        // Null is printed as nothing, a profile without shards is printed.
        SearchProfileShardResults profile = former.profile().isEmpty() ? null : new SearchProfileShardResults(former.profile());
        InternalSearchResponse sections = new InternalSearchResponse(
                hits, (InternalAggregations) former.aggregations(), former.suggest(), profile,
                former.timedOut(), former.terminatedEarly(), former.getNumReducePhases(), former.getSearchExtBuilders(), former.getProcessorResult());
        return new SearchResponse(
                sections, response.getScrollId(), response.getTotalShards(), response.getSuccessfulShards(), response.getSkippedShards(),
                response.getTook().millis(), response.getPhaseTook(), response.getShardFailures(), response.getClusters(), response.pointInTimeId());
    }
}
