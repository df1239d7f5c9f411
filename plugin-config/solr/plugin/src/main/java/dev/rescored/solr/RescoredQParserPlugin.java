package dev.rescored.solr;

import dev.rescored.client.RescoredClient;
import dev.rescored.common.RerankOptions.OnFailure;
import dev.rescored.common.Sidecar;
import dev.rescored.common.Sidecar.Caller;
import dev.rescored.common.TrustedCertificates;
import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.solr.common.params.SolrParams;
import org.apache.solr.common.util.NamedList;
import org.apache.solr.request.SolrQueryRequest;
import org.apache.solr.search.QParser;
import org.apache.solr.search.QParserPlugin;

/**
 * {@code <queryParser name="rescored" class="dev.rescored.solr.RescoredQParserPlugin">} of {@code solrconfig.xml}: one
 * client a core, closed with it.
 */
public final class RescoredQParserPlugin extends QParserPlugin implements Closeable {

    private static final Set<String> KNOWN = new TreeSet<>(Set.of(
            "name", "class", "endpoints", "model", "keyFile", "timeoutMs", "connectTimeoutMs", "concurrency", "onFailure", "certificateAuthorities"));

    private Sidecar sidecar;

    @Override
    public void init(NamedList<?> arguments) {
        SolrParams said = arguments.toSolrParams();
        said.getParameterNamesIterator().forEachRemaining(name -> {
            if (!KNOWN.contains(name)) {
                throw new IllegalArgumentException("query parser rescored: unknown [" + name + "]; known are " + KNOWN);
            }
        });
        sidecar = new Sidecar(
                () -> client(said), Duration.ofMillis(positive(said, "timeoutMs", 1000)), OnFailure.parse(said.get("onFailure", "keep")), Caller.RESCORER);
    }

    private static RescoredClient client(SolrParams said) {
        String[] endpoints = said.getParams("endpoints");
        RescoredClient.Builder builder = RescoredClient.builder()
                .endpoints(endpoints == null ? List.of("http://127.0.0.1:8787") : List.of(endpoints))
                .model(said.get("model", "")).key(key(said.get("keyFile")))
                .maxConcurrent(positive(said, "concurrency", 16))
                .connectTimeout(Duration.ofMillis(positive(said, "connectTimeoutMs", 500)));
        String authorities = said.get("certificateAuthorities");
        if (authorities != null) {
            builder.sslContext(TrustedCertificates.context("certificateAuthorities", Path.of(authorities)));
        }
        return builder.build();
    }

    private static int positive(SolrParams said, String name, int usual) {
        int value = said.getInt(name, usual);
        if (value < 1) {
            throw new IllegalArgumentException("query parser rescored: [" + name + "] is [" + value + "]; it must be 1 at least");
        }
        return value;
    }

    private static String key(String file) {
        try {
            return file == null ? "" : Files.readString(Path.of(file)).strip();
        } catch (IOException fault) {
            throw new UncheckedIOException("query parser rescored: [keyFile] cannot be read", fault);
        }
    }

    @Override
    public QParser createParser(String text, SolrParams localParams, SolrParams params, SolrQueryRequest request) {
        return new RescoredQParser(text, localParams, params, request, sidecar);
    }

    @Override
    public void close() {
        if (sidecar != null) {
            sidecar.close();
        }
    }
}
