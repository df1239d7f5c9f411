package dev.rescored.elasticsearch;

import dev.rescored.client.RescoredException;
import dev.rescored.common.RerankOptions;
import dev.rescored.common.RescoredWindow;
import dev.rescored.common.Scores;
import dev.rescored.common.Sidecar;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.ReaderUtil;
import org.apache.lucene.search.Explanation;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.TopDocs;
import org.elasticsearch.common.xcontent.support.XContentMapValues;
import org.elasticsearch.search.lookup.SearchLookup;
import org.elasticsearch.search.rescore.RescoreContext;
import org.elasticsearch.search.rescore.Rescorer;

/** Reranks the best hits of one shard, in that shard's search thread. */
final class RescoredRescorer implements Rescorer {

    private static final RescoredRescorer INSTANCE = new RescoredRescorer();
    // Equal scores keep the engine's order, as they do in the sidecar: the sort is stable.
    private static final Comparator<ScoreDoc> BY_SCORE = (left, right) -> Float.compare(right.score, left.score);

    /** What one search wants of one shard. */
    static final class Context extends RescoreContext {

        private final RerankOptions options;
        private final Sidecar sidecar;
        private final SearchLookup lookup;

        Context(int windowSize, RerankOptions options, Sidecar sidecar, SearchLookup lookup) {
            super(windowSize, INSTANCE);
            this.options = options;
            this.sidecar = sidecar;
            this.lookup = lookup;
        }
    }

    private RescoredRescorer() {}

    @Override
    public TopDocs rescore(TopDocs topDocs, IndexSearcher searcher, RescoreContext rescoreContext) throws IOException {
        if (topDocs == null || topDocs.scoreDocs.length == 0) {
            return topDocs;
        }
        Context context = (Context) rescoreContext;
        ScoreDoc[] hits = topDocs.scoreDocs.clone();
        ScoreDoc[] first = Arrays.copyOf(hits, Math.min(context.getWindowSize(), hits.length));
        float[] engine = new float[hits.length];
        for (int n = 0; n < hits.length; n++) {
            engine[n] = hits[n].score;
        }
        RescoredWindow window;
        try {
            window = RescoredWindow.of(context.sidecar, context.options, engine, texts(context, searcher, first), "_source");
        } catch (RescoredException fault) {
            throw Warnings.failed(fault.getMessage());
        }
        if (window.warning() != null) {
            Warnings.add(window.warning());
        }
        for (int n = 0; n < hits.length; n++) {
            hits[n].score = window.scores()[n];
        }
        context.setRescoredDocs(docs(hits, window.reranked()));
        Arrays.sort(hits, BY_SCORE);
        return new TopDocs(topDocs.totalHits, hits);
    }

    private static Set<Integer> docs(ScoreDoc[] hits, int window) {
        return Arrays.stream(hits, 0, window).map(hit -> hit.doc).collect(Collectors.toUnmodifiableSet());
    }

    /** Read in the order of the index, as stored fields want it, a synthetic source included; given in the order of the hits. */
    private static List<String> texts(Context context, IndexSearcher searcher, ScoreDoc[] window) throws IOException {
        List<LeafReaderContext> leaves = searcher.getIndexReader().leaves();
        Integer[] places = new Integer[window.length];
        Arrays.setAll(places, place -> place);
        Arrays.sort(places, Comparator.comparingInt(place -> window[place].doc));
        String[] texts = new String[window.length];
        for (int place : places) {
            LeafReaderContext leaf = leaves.get(ReaderUtil.subIndex(window[place].doc, leaves));
            Map<String, Object> source = context.lookup.getSource(leaf, window[place].doc - leaf.docBase).source();
            texts[place] = context.options.template().text(path -> XContentMapValues.extractRawValues(path, source));
        }
        return new ArrayList<>(Arrays.asList(texts));
    }

    @Override
    public Explanation explain(int doc, IndexSearcher searcher, RescoreContext rescoreContext, Explanation engine) throws IOException {
        Context context = (Context) rescoreContext;
        float first = engine.getValue().floatValue();
        if (!context.isRescored(doc)) {
            return Explanation.match(Scores.notReranked(first), "not reranked: -1 / (1 + engine), the engine's score being:", engine);
        }
        float weight = context.options.weight();
        try {
            // From the sidecar's cache: the search itself has just asked.
            List<String> text = texts(context, searcher, new ScoreDoc[] {new ScoreDoc(doc, first)});
            float score = context.sidecar.scores(context.options.queryText(), text, context.sidecar.timeout(context.options.timeout()))[0];
            return Explanation.match(
                    Scores.combined(first, score, weight), "weight * rescored + (1 - weight) * engine, of:",
                    Explanation.match(weight, "weight"), Explanation.match(score, "rescored"), engine);
        } catch (RescoredException fault) {
            return Explanation.match(first, "rescored gave no score to explain: " + fault.getMessage(), engine);
        }
    }
}
