package rescored.vespa;

import com.yahoo.component.annotation.Inject;
import com.yahoo.component.chain.dependencies.After;
import com.yahoo.component.chain.dependencies.Before;
import com.yahoo.component.chain.dependencies.Provides;
import com.yahoo.metrics.simple.Counter;
import com.yahoo.metrics.simple.Gauge;
import com.yahoo.metrics.simple.MetricReceiver;
import com.yahoo.search.Query;
import com.yahoo.search.Result;
import com.yahoo.search.Searcher;
import com.yahoo.search.result.ErrorMessage;
import com.yahoo.search.result.Hit;
import com.yahoo.search.result.HitGroup;
import com.yahoo.search.searchchain.Execution;
import com.yahoo.search.searchchain.PhaseNames;
import dev.rescored.client.RescoredClient;
import dev.rescored.client.RescoredException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.stream.Collectors;

/**
 * Rescores the top hits of a query by a cross-encoder.
 *
 * Query parameters: rerank.hits is the window, 0 for none; rerank.query the text, when it is not the query string.
 * Hits below the window stay below it in their order. What happened stands in the root's field "rescored".
 */
@Provides("rescored")
@After(PhaseNames.TRANSFORMED_QUERY)
@Before(PhaseNames.BLENDED_RESULT)
public final class RescoringSearcher extends Searcher {

    private final RescorerConfig config;
    private final RescoredClient client;
    private final MetricReceiver metrics;
    private final Counter queries;
    private final Counter documents;
    private final Gauge latency;

    @Inject
    public RescoringSearcher(RescorerConfig config, MetricReceiver metrics) {
        if (config.fields().isEmpty()) {
            throw new IllegalArgumentException("fields: none given; name the summary fields that make the passage");
        }
        this.config = config;
        this.client = RescoredClient.builder()
                .endpoints(List.of(config.endpoint())).key(key(config.keyFile())).model(config.model())
                .maxConcurrent(config.concurrency()).connectTimeout(Duration.ofMillis(config.connectTimeoutMs())).build();
        this.metrics = metrics;
        this.queries = metrics.declareCounter("rescored.queries");
        this.documents = metrics.declareCounter("rescored.documents");
        this.latency = metrics.declareGauge("rescored.latency_ms");
    }

    @Override
    public Result search(Query query, Execution execution) {
        int window = query.properties().getInteger("rerank.hits", config.hits());
        String text = query.properties().getString("rerank.query", query.getModel().getQueryString());
        if (window <= 0 || text == null || text.isBlank()) {
            return execution.search(query);
        }
        int offset = query.getOffset();
        int wanted = query.getHits();
        // Every page must see the same window, so it is always fetched from the top.
        query.setOffset(0);
        query.setHits(Math.max(window, offset + wanted));
        Result result = execution.search(query);
        execution.fill(result);
        query.setOffset(offset);
        query.setHits(wanted);
        try {
            int count = rescore(query, text, result, window);
            result.hits().setField("rescored", count);
        } catch (RescoredException failure) {
            count(failure.kind().name().toLowerCase(Locale.ROOT));
            if (config.onFailure() == RescorerConfig.OnFailure.FAIL) {
                return new Result(query, error(failure));
            }
            query.trace("rescored: " + failure.getMessage(), 1);
            result.hits().setField("rescored", 0);
            result.hits().setField("rescored_failure", failure.getMessage());
        }
        result.hits().trim(offset, wanted);
        return result;
    }

    @Override
    public void deconstruct() {
        client.close();
        super.deconstruct();
    }

    private int rescore(Query query, String text, Result result, int window) throws RescoredException {
        // Groups and messages are no passages.
        List<Hit> hits = result.hits().asList().stream().filter(hit -> !hit.isMeta() && !(hit instanceof HitGroup)).toList();
        List<Hit> top = hits.subList(0, Math.min(window, hits.size()));
        if (top.isEmpty()) {
            return 0;
        }
        long start = System.nanoTime();
        Duration timeLeft = Duration.ofMillis(query.getTimeLeft() - config.reserveMs());
        float[] scores = client.scores(text, top.stream().map(this::passage).toList(), timeLeft);
        latency.sample((System.nanoTime() - start) / 1e6);
        documents.add(top.size());
        count("rescored");
        double lowest = Double.POSITIVE_INFINITY;
        for (int n = 0; n < scores.length; n++) {
            top.get(n).setRelevance(scores[n]);
            lowest = Math.min(lowest, scores[n]);
        }
        sink(hits.subList(top.size(), hits.size()), lowest);
        result.hits().sort();
        return top.size();
    }

    /** Moves what was not rescored below what was, differences kept. */
    private static void sink(List<Hit> tail, double lowest) {
        if (!tail.isEmpty()) {
            double shift = lowest - 1 - tail.get(0).getRelevance().getScore();
            tail.forEach(hit -> hit.setRelevance(hit.getRelevance().getScore() + shift));
        }
    }

    private String passage(Hit hit) {
        return config.fields().stream().map(hit::getField).filter(Objects::nonNull).map(Object::toString)
                .collect(Collectors.joining(" "));
    }

    private void count(String outcome) {
        queries.add(metrics.pointBuilder().set("outcome", outcome).build());
    }

    private static ErrorMessage error(RescoredException failure) {
        return failure.kind() == RescoredException.Kind.TIMEOUT || failure.kind() == RescoredException.Kind.LIMIT
                ? ErrorMessage.createTimeout(failure.getMessage())
                : ErrorMessage.createBackendCommunicationError(failure.getMessage());
    }

    private static String key(String file) {
        try {
            return file.isEmpty() ? "" : Files.readString(Path.of(file)).strip();
        } catch (IOException fault) {
            throw new UncheckedIOException("keyFile: cannot be read", fault);
        }
    }

}
