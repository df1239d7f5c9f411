package dev.rescored.solr;

import dev.rescored.client.RescoredException;
import dev.rescored.common.Messages;
import dev.rescored.common.RescoredWindow;
import dev.rescored.common.Scores;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.lucene.document.Document;
import org.apache.lucene.index.IndexableField;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.search.LeafCollector;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.ScoreMode;
import org.apache.lucene.search.TopDocs;
import org.apache.lucene.search.TopDocsCollector;
import org.apache.lucene.search.TopScoreDocCollector;
import org.apache.lucene.search.TopScoreDocCollectorManager;
import org.apache.solr.common.SolrException;
import org.apache.solr.common.SolrException.ErrorCode;
import org.apache.solr.common.util.SimpleOrderedMap;
import org.apache.solr.request.SolrRequestInfo;
import org.apache.solr.search.QueryCommand;
import org.apache.solr.search.SolrIndexSearcher;

/** Collects hits by the engine's score and reranks the best of them. */
final class RescoredCollector extends TopDocsCollector<ScoreDoc> {

    private final RescoredQuery.Plan plan;
    private final SolrIndexSearcher searcher;
    private final TopScoreDocCollector collected;

    RescoredCollector(RescoredQuery.Plan plan, int length, QueryCommand command, SolrIndexSearcher searcher) {
        super(null);
        this.plan = plan;
        this.searcher = searcher;
        int most = Math.max(1, Math.min(Math.max(plan.docs(), length), searcher.getIndexReader().maxDoc()));
        this.collected = new TopScoreDocCollectorManager(most, command.getMinExactCount()).newCollector();
    }

    @Override
    public LeafCollector getLeafCollector(LeafReaderContext context) throws IOException {
        return collected.getLeafCollector(context);
    }

    @Override
    public ScoreMode scoreMode() {
        return collected.scoreMode();
    }

    @Override
    public int getTotalHits() {
        return collected.getTotalHits();
    }

    @Override
    public TopDocs topDocs() {
        return topDocs(0, Integer.MAX_VALUE);
    }

    @Override
    public TopDocs topDocs(int start) {
        return topDocs(start, Integer.MAX_VALUE);
    }

    @Override
    public TopDocs topDocs(int start, int count) {
        TopDocs found = collected.topDocs();
        ScoreDoc[] hits = found.scoreDocs;
        if (hits.length > 0) {
            hits = reranked(hits);
        }
        int from = Math.min(start, hits.length);
        int to = (int) Math.min((long) from + count, hits.length);
        return new TopDocs(found.totalHits, Arrays.copyOfRange(hits, from, to));
    }

    private ScoreDoc[] reranked(ScoreDoc[] hits) {
        float[] engine = new float[hits.length];
        for (int n = 0; n < hits.length; n++) {
            engine[n] = hits[n].score;
        }
        RescoredWindow window;
        try {
            List<String> texts = texts(Arrays.copyOf(hits, Math.min(plan.docs(), hits.length)));
            window = RescoredWindow.of(plan.sidecar(), plan.options(), engine, texts, "stored fields");
        } catch (IOException fault) {
            throw new UncheckedIOException(fault);
        } catch (RescoredException fault) {
            throw new SolrException(ErrorCode.SERVICE_UNAVAILABLE, Messages.failed(fault.getMessage()));
        }
        tell(window);
        int[] order = Scores.order(window.scores());
        ScoreDoc[] reranked = new ScoreDoc[hits.length];
        for (int n = 0; n < order.length; n++) {
            reranked[n] = hits[order[n]];
            reranked[n].score = window.scores()[order[n]];
        }
        return reranked;
    }

    /** Read in the order of the index; given in the order of the hits. */
    private List<String> texts(ScoreDoc[] window) throws IOException {
        Set<String> fields = new HashSet<>(plan.options().template().fields());
        Integer[] places = new Integer[window.length];
        Arrays.setAll(places, place -> place);
        Arrays.sort(places, Comparator.comparingInt(place -> window[place].doc));
        String[] texts = new String[window.length];
        for (int place : places) {
            Document stored = searcher.getDocFetcher().doc(window[place].doc, fields);
            texts[place] = plan.options().template().text(field -> values(stored, field));
        }
        return Arrays.asList(texts);
    }

    private static List<Object> values(Document stored, String name) {
        List<Object> values = new ArrayList<>();
        for (IndexableField field : stored.getFields(name)) {
            values.add(field.stringValue());
        }
        return values;
    }

    /** In the answer of this core: {@code "rescored": {"reranked": 20}}, and why where it was not. */
    private static void tell(RescoredWindow window) {
        SolrRequestInfo request = SolrRequestInfo.getRequestInfo();
        if (request == null || request.getRsp() == null) {
            return;
        }
        SimpleOrderedMap<Object> told = new SimpleOrderedMap<>();
        told.add("reranked", window.reranked());
        if (window.warning() != null) {
            told.add("warning", window.warning());
        }
        request.getRsp().getValues().removeAll("rescored");
        request.getRsp().add("rescored", told);
    }
}
