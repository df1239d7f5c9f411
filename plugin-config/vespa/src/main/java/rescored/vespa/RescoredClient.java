package rescored.vespa;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;

/** Calls rescored over HTTP/1.1 on connections that are kept open. Knows nothing of Vespa. */
final class RescoredClient {

    private final HttpClient http;
    private final URI uri;
    private final String key;
    private final String model;
    private final ObjectMapper json = new ObjectMapper();

    RescoredClient(String endpoint, String key, String model, Duration connectTimeout) {
        this.http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).connectTimeout(connectTimeout).build();
        this.uri = URI.create(endpoint.replaceAll("/+$", "") + "/v1/rerank");
        this.key = key;
        this.model = model;
    }

    /** Why there are no scores; the message never holds text of the query or a passage. */
    static final class Failure extends Exception {

        private static final long serialVersionUID = 1L;

        /** What a metric counts. */
        enum Kind { TIMEOUT, REFUSED, UNREACHABLE, MALFORMED }

        private final Kind kind;

        Failure(Kind kind, String message) {
            super(message);
            this.kind = kind;
        }

        Kind kind() {
            return kind;
        }

    }

    /** The score of every passage, in the order of the passages. */
    double[] scores(String query, List<String> passages, Duration timeLeft) throws Failure {
        long millis = timeLeft.toMillis();
        if (millis <= 0) {
            throw new Failure(Failure.Kind.TIMEOUT, "no time is left for rescoring");
        }
        HttpResponse<byte[]> response = send(body(query, passages), millis);
        if (response.statusCode() != 200) {
            // 504 says that the deadline passed inside the sidecar.
            Failure.Kind kind = response.statusCode() == 504 ? Failure.Kind.TIMEOUT : Failure.Kind.REFUSED;
            throw new Failure(kind, "rescored answered with status " + response.statusCode());
        }
        return read(response.body(), passages.size());
    }

    private byte[] body(String query, List<String> passages) throws Failure {
        ObjectNode body = json.createObjectNode();
        if (!model.isEmpty()) {
            body.put("model", model);
        }
        body.put("query", query);
        ArrayNode documents = body.putArray("documents");
        passages.forEach(documents::add);
        try {
            return json.writeValueAsBytes(body);
        } catch (IOException fault) {
            throw new Failure(Failure.Kind.MALFORMED, "the request cannot be written");
        }
    }

    private HttpResponse<byte[]> send(byte[] body, long millis) throws Failure {
        HttpRequest.Builder request = HttpRequest.newBuilder(uri)
                .timeout(Duration.ofMillis(millis))
                .header("Content-Type", "application/json")
                .header("X-Request-Timeout-Ms", Long.toString(millis))
                .POST(HttpRequest.BodyPublishers.ofByteArray(body));
        if (!key.isEmpty()) {
            request.header("Authorization", "Bearer " + key);
        }
        try {
            return http.send(request.build(), HttpResponse.BodyHandlers.ofByteArray());
        } catch (HttpTimeoutException fault) {
            throw new Failure(Failure.Kind.TIMEOUT, "rescored did not answer within " + millis + " ms");
        } catch (IOException fault) {
            throw new Failure(Failure.Kind.UNREACHABLE, "rescored cannot be reached: " + fault.getClass().getSimpleName());
        } catch (InterruptedException fault) {
            Thread.currentThread().interrupt();
            throw new Failure(Failure.Kind.TIMEOUT, "the query's thread was interrupted");
        }
    }

    private double[] read(byte[] body, int count) throws Failure {
        JsonNode results;
        try {
            results = json.readTree(body).path("results");
        } catch (IOException fault) {
            throw new Failure(Failure.Kind.MALFORMED, "rescored's answer is not JSON");
        }
        double[] scores = new double[count];
        Arrays.fill(scores, Double.NaN);
        for (JsonNode item : results) {
            int index = item.path("index").asInt(-1);
            if (index >= 0 && index < count) {
                scores[index] = item.path("relevance_score").asDouble(Double.NaN);
            }
        }
        if (results.size() != count || Arrays.stream(scores).anyMatch(score -> !Double.isFinite(score))) {
            throw new Failure(Failure.Kind.MALFORMED, "rescored's answer lacks a score: " + results.size() + " for " + count);
        }
        return scores;
    }

}
