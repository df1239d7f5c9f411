package dev.rescored.common;

import dev.rescored.client.ClientStats;
import dev.rescored.client.RescoredClient;
import dev.rescored.client.RescoredException;
import dev.rescored.common.RerankOptions.OnFailure;
import java.io.Closeable;
import java.security.AccessController;
import java.security.PrivilegedAction;
import java.security.PrivilegedActionException;
import java.security.PrivilegedExceptionAction;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Supplier;

/** A node's client, the settings that may change while it runs, and what became of searches. */
public final class Sidecar implements Closeable {

    /** Who asks: each is counted apart. */
    public enum Caller {
        /** A shard's window of hits. */
        RESCORER,
        /** A search on the coordinating node, which alone may be skipped. */
        PIPELINE
    }

    /** What became of a shard's window, or of a search. */
    public enum Outcome {
        /** The sidecar's scores made the order. */
        RERANKED,
        /** The engine's order stands, with a warning. */
        KEPT,
        /** The search failed, as it was asked to. */
        FAILED,
        /** The search was not of a kind that can be reranked. */
        SKIPPED
    }

    private final RescoredClient client;
    private final Map<String, LongAdder> outcomes = new LinkedHashMap<>();
    private volatile Duration timeout;
    private volatile OnFailure onFailure;

    /**
     * @param client is built with the plugin's own permissions where there is a security manager
     * @param timeout of a call, where a search does not say
     * @param onFailure where a search does not say
     */
    public Sidecar(Supplier<RescoredClient> client, Duration timeout, OnFailure onFailure, Caller... callers) {
        this.client = AccessController.doPrivileged((PrivilegedAction<RescoredClient>) client::get);
        this.timeout = timeout;
        this.onFailure = onFailure;
        for (Caller caller : callers) {
            for (Outcome outcome : Outcome.values()) {
                if (caller == Caller.PIPELINE || outcome != Outcome.SKIPPED) {
                    outcomes.put(name(caller, outcome), new LongAdder());
                }
            }
        }
    }

    /** Sends this key from the next call on. */
    public void setKey(String key) {
        client.setKey(key);
    }

    /** The node's setting from now on. */
    public void setTimeout(Duration timeout) {
        this.timeout = timeout;
    }

    /** The node's setting from now on. */
    public void setOnFailure(OnFailure onFailure) {
        this.onFailure = onFailure;
    }

    /** What a search said, or else the node's setting. */
    public Duration timeout(Duration said) {
        return said == null ? timeout : said;
    }

    /** What a search said, or else the node's setting. */
    public OnFailure onFailure(OnFailure said) {
        return said == null ? onFailure : said;
    }

    /**
     * Scores in the order of the texts; blocks at most for the time given.
     *
     * @throws RescoredException when there is no score for each
     */
    public float[] scores(String query, List<String> texts, Duration time) throws RescoredException {
        try {
            return AccessController.doPrivileged((PrivilegedExceptionAction<float[]>) () -> client.scores(query, texts, time));
        } catch (PrivilegedActionException fault) {
            // Nothing else is declared by what runs within.
            throw (RescoredException) fault.getException();
        }
    }

    /** Counts what became of a search of one of the callers that this was built for. */
    public void count(Caller caller, Outcome outcome) {
        outcomes.get(name(caller, outcome)).increment();
    }

    private static String name(Caller caller, Outcome outcome) {
        return (caller + "_" + outcome).toLowerCase(Locale.ROOT);
    }

    /** Numbers, texts, lists and maps of them: what can be sent between nodes and printed. */
    public Map<String, Object> stats() {
        Map<String, Object> stats = new LinkedHashMap<>();
        outcomes.forEach((name, count) -> stats.put(name, count.sum()));
        ClientStats calls = client.stats();
        stats.put("calls", calls.calls());
        stats.put("calls_answered", calls.answered());
        stats.put("calls_in_flight", calls.inFlight());
        stats.put("answered_time_in_micros", calls.answeredMicros());
        stats.put("documents", calls.documents());
        stats.put("documents_cached", calls.cachedDocuments());
        calls.failures().forEach((kind, count) -> stats.put("failed_" + kind.name().toLowerCase(Locale.ROOT), count));
        stats.put("retries", calls.retries());
        stats.put("connections_opened", calls.connectionsOpened());
        stats.put("connections_idle", calls.connectionsIdle());
        stats.put("endpoints", calls.endpoints().stream().map(one -> Map.<String, Object>of(
                "endpoint", one.endpoint(), "breaker", one.breaker().toLowerCase(Locale.ROOT), "breaker_opened", one.timesOpened())).toList());
        return stats;
    }

    @Override
    public void close() {
        client.close();
    }
}
