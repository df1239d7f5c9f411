package dev.rescored.opensearch;

import dev.rescored.client.ClientStats;
import dev.rescored.client.RescoredClient;
import dev.rescored.client.RescoredException;
import dev.rescored.opensearch.RerankOptions.OnFailure;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.AccessController;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.PrivilegedAction;
import java.security.PrivilegedActionException;
import java.security.PrivilegedExceptionAction;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.atomic.LongAdder;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.opensearch.common.settings.ClusterSettings;
import org.opensearch.common.settings.Settings;
import org.opensearch.common.unit.TimeValue;
import org.opensearch.core.common.settings.SecureString;

/** This node's client, the settings that may change while it runs, and what became of searches. */
final class Sidecar implements Closeable {

    /** Who asks: each is counted apart. */
    enum Caller { RESCORER, PIPELINE }

    /** What became of a shard's window (rescorer) or of a search (pipeline, which alone skips some). */
    enum Outcome { RERANKED, KEPT, FAILED, SKIPPED }

    private final RescoredClient client;
    private final Map<String, LongAdder> outcomes = new LinkedHashMap<>();
    private volatile TimeValue timeout;
    private volatile OnFailure onFailure;

    Sidecar(Settings settings, ClusterSettings clusterSettings, Path configFolder) {
        client = privileged(() -> build(settings, configFolder));
        timeout = RescoredSettings.TIMEOUT.get(settings);
        onFailure = RescoredSettings.ON_FAILURE.get(settings);
        clusterSettings.addSettingsUpdateConsumer(RescoredSettings.TIMEOUT, value -> timeout = value);
        clusterSettings.addSettingsUpdateConsumer(RescoredSettings.ON_FAILURE, value -> onFailure = value);
        for (Caller caller : Caller.values()) {
            for (Outcome outcome : Outcome.values()) {
                if (caller == Caller.PIPELINE || outcome != Outcome.SKIPPED) {
                    outcomes.put(name(caller, outcome), new LongAdder());
                }
            }
        }
    }

    private static RescoredClient build(Settings settings, Path configFolder) {
        RescoredClient.Builder builder = RescoredClient.builder()
                .endpoints(RescoredSettings.ENDPOINTS.get(settings))
                .model(RescoredSettings.MODEL.get(settings))
                .maxConcurrent(RescoredSettings.CONCURRENCY.get(settings))
                .connectTimeout(Duration.ofMillis(RescoredSettings.CONNECT_TIMEOUT.get(settings).millis()));
        String authorities = RescoredSettings.CERTIFICATE_AUTHORITIES.get(settings);
        if (!authorities.isEmpty()) {
            builder.sslContext(trusting(configFolder.resolve(authorities)));
        }
        return builder.key(key(settings)).build();
    }

    private static String key(Settings settings) {
        try (SecureString key = RescoredSettings.KEY.get(settings)) {
            return key.toString();
        }
    }

    private static SSLContext trusting(Path file) {
        try (InputStream in = Files.newInputStream(file)) {
            KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
            trusted.load(null, null);
            int count = 0;
            for (Certificate certificate : CertificateFactory.getInstance("X.509").generateCertificates(in)) {
                trusted.setCertificateEntry("authority-" + count++, certificate);
            }
            if (count == 0) {
                throw new GeneralSecurityException("it holds no certificate in PEM");
            }
            TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            factory.init(trusted);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, factory.getTrustManagers(), null);
            return context;
        } catch (IOException | GeneralSecurityException fault) {
            throw new IllegalArgumentException("[rescored.ssl.certificate_authorities]: [" + file + "] cannot be used: " + fault.getMessage(), fault);
        }
    }

    /** The key of the keystore as it is now. */
    void reload(Settings settings) {
        client.setKey(key(settings));
    }

    /** What a search said, or else the node's setting. */
    Duration timeout(TimeValue said) {
        return Duration.ofMillis((said == null ? timeout : said).millis());
    }

    /** What a search said, or else the node's setting. */
    OnFailure onFailure(OnFailure said) {
        return said == null ? onFailure : said;
    }

    /** Scores in the order of the texts; blocks at most for the time given. */
    float[] scores(String query, List<String> texts, Duration time) throws RescoredException {
        try {
            return AccessController.doPrivileged((PrivilegedExceptionAction<float[]>) () -> client.scores(query, texts, time));
        } catch (PrivilegedActionException fault) {
            // Nothing else is declared by what runs within.
            throw (RescoredException) fault.getException();
        }
    }

    void count(Caller caller, Outcome outcome) {
        outcomes.get(name(caller, outcome)).increment();
    }

    private static String name(Caller caller, Outcome outcome) {
        return (caller + "_" + outcome).toLowerCase(Locale.ROOT);
    }

    /** Numbers, texts, lists and maps of them: what can be sent between nodes and printed. */
    Map<String, Object> stats() {
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

    private static <T> T privileged(PrivilegedAction<T> action) {
        return AccessController.doPrivileged(action);
    }

    @Override
    public void close() {
        client.close();
    }
}
