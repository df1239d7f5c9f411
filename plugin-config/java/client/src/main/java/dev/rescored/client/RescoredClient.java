package dev.rescored.client;

import dev.rescored.client.ByteStream.DeadlineException;
import dev.rescored.client.CircuitBreaker.Permit;
import dev.rescored.client.JsonReader.JsonException;
import dev.rescored.client.RescoredException.Kind;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.channels.ClosedByInterruptException;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLContext;

/**
 * Asks one or several sidecars for scores. Safe for many threads; {@link #close()} ends its idle connections.
 *
 * <p>Of several addresses each call begins with the next in turn. It goes on to another when one cannot be reached,
 * answers nonsense, or refuses because of too much work; it does not when time is up or the request itself is refused.
 */
public final class RescoredClient implements AutoCloseable {

    private final Builder options;
    private final List<Address> addresses = new ArrayList<>();
    private final Counters counters = new Counters();
    private final Semaphore slots;
    private final AtomicInteger turn = new AtomicInteger();
    private volatile String key;

    private RescoredClient(Builder options) {
        this.options = options;
        this.key = options.key;
        this.slots = new Semaphore(options.maxConcurrent, true);
        for (Endpoint endpoint : options.endpoints) {
            addresses.add(new Address(endpoint, options, counters));
        }
    }

    public static Builder builder() {
        return new Builder();
    }

    /**
     * The relevance of each document for the query, between 0 and 1, in the order of the documents.
     *
     * @param timeout of the whole call, waiting for a free slot included; sent along as {@code X-Request-Timeout-Ms}
     * @throws RescoredException when there is no score for each; within the timeout
     */
    public float[] scores(String query, List<String> documents, Duration timeout) throws RescoredException {
        if (documents.isEmpty()) {
            return new float[0];
        }
        counters.calls.increment();
        long start = System.nanoTime();
        try {
            float[] scores = inSlot(query, documents, Deadline.after(timeout));
            counters.answered.increment();
            counters.documents.add(scores.length);
            counters.answeredMicros.add((System.nanoTime() - start) / 1000);
            return scores;
        } catch (RescoredException fault) {
            counters.failed(fault.kind());
            throw fault;
        }
    }

    private float[] inSlot(String query, List<String> documents, Deadline deadline) throws RescoredException {
        // Told at once when nobody can be asked: what waits for a slot would only wait for this.
        if (addresses.stream().noneMatch(address -> address.breaker.isWilling())) {
            throw circuitOpen();
        }
        try {
            if (!slots.tryAcquire(Math.max(0, deadline.remainingNanos()), TimeUnit.NANOSECONDS)) {
                throw new RescoredException(Kind.LIMIT, "all " + options.maxConcurrent + " calls that may be under way at once were, until the timeout");
            }
        } catch (InterruptedException fault) {
            Thread.currentThread().interrupt();
            throw new RescoredException(Kind.CANCELLED, "interrupted while waiting for a free call", fault);
        }
        try {
            return tryAddresses(RerankBody.request(options.model, query, documents), documents.size(), deadline);
        } finally {
            slots.release();
        }
    }

    private float[] tryAddresses(byte[] body, int documents, Deadline deadline) throws RescoredException {
        int first = Math.floorMod(turn.getAndIncrement(), addresses.size());
        RescoredException last = null;
        for (int n = 0; n < addresses.size(); n++) {
            Address address = addresses.get((first + n) % addresses.size());
            Permit permit = address.breaker.tryAcquire();
            if (permit == null) {
                continue;
            }
            if (last != null) {
                counters.retries.increment();
            }
            try {
                return ask(address, permit, body, documents, deadline);
            } catch (RescoredException fault) {
                if (!isWorthAnother(fault.kind()) || deadline.hasPassed()) {
                    throw fault;
                }
                last = fault;
            }
        }
        throw last != null ? last : circuitOpen();
    }

    private static boolean isWorthAnother(Kind kind) {
        return kind == Kind.UNREACHABLE || kind == Kind.OVERLOADED || kind == Kind.MALFORMED;
    }

    /** One exchange with one address, whose breaker is told how it went. */
    private float[] ask(Address address, Permit permit, byte[] body, int documents, Deadline deadline) throws RescoredException {
        Verdict verdict = Verdict.ABANDONED;
        try {
            HttpResponse response = address.post(key, body, RerankBody.answerLimit(documents), deadline);
            float[] scores = scores(address, response, documents);
            verdict = Verdict.ALIVE;
            return scores;
        } catch (RescoredException fault) {
            verdict = Verdict.of(fault.kind());
            throw fault;
        } catch (IOException fault) {
            RescoredException told = translate(address, fault);
            verdict = Verdict.of(told.kind());
            throw told;
        } finally {
            verdict.tell(permit);
        }
    }

    private enum Verdict {
        ALIVE, FAILED, ABANDONED;

        static Verdict of(Kind kind) {
            return switch (kind) {
                case TIMEOUT, UNREACHABLE, MALFORMED -> FAILED;
                // It answers, and fast: keeping away from it would bring nothing back.
                case OVERLOADED, UNAUTHORIZED, REFUSED -> ALIVE;
                case CANCELLED, LIMIT, CIRCUIT_OPEN -> ABANDONED;
            };
        }

        void tell(Permit permit) {
            switch (this) {
                case ALIVE -> permit.succeeded();
                case FAILED -> permit.failed();
                case ABANDONED -> permit.abandoned();
            }
        }
    }

    private float[] scores(Address address, HttpResponse response, int documents) throws RescoredException {
        if (response.status() != 200) {
            throw refusal(address, response.status());
        }
        String type = response.headers().getOrDefault("content-type", "");
        if (!type.toLowerCase(Locale.ROOT).matches("application/json( *;.*)?")) {
            throw new RescoredException(Kind.MALFORMED, address.endpoint + " answered with a content type other than application/json");
        }
        try {
            float[] scores = RerankBody.scores(response.body(), documents);
            countCached(response);
            return scores;
        } catch (JsonException fault) {
            throw new RescoredException(Kind.MALFORMED, address.endpoint + " answered what is no ranking: " + fault.getMessage(), fault);
        }
    }

    private void countCached(HttpResponse response) {
        String hits = response.headers().getOrDefault("x-rescored-cache-hits", "");
        if (hits.matches("[0-9]{1,9}")) {
            counters.cached.add(Integer.parseInt(hits));
        }
    }

    private static RescoredException refusal(Address address, int status) {
        String told = address.endpoint + " answered with status " + status;
        return switch (status) {
            case 401, 403 -> new RescoredException(Kind.UNAUTHORIZED, told + ": check the key");
            case 429, 503 -> new RescoredException(Kind.OVERLOADED, told + ": it has too much work, or is not ready");
            case 502 -> new RescoredException(Kind.UNREACHABLE, told);
            case 504 -> new RescoredException(Kind.TIMEOUT, told + ": the timeout passed there");
            default -> new RescoredException(Kind.REFUSED, told);
        };
    }

    private static RescoredException translate(Address address, IOException fault) {
        if (fault instanceof DeadlineException) {
            return new RescoredException(Kind.TIMEOUT, address.endpoint + ": " + fault.getMessage(), fault);
        }
        if (fault instanceof InterruptedIOException || fault instanceof ClosedByInterruptException) {
            return new RescoredException(Kind.CANCELLED, "interrupted while " + address.endpoint + " was asked", fault);
        }
        if (fault instanceof HttpResponse.MalformedException) {
            return new RescoredException(Kind.MALFORMED, address.endpoint + " answered badly: " + fault.getMessage(), fault);
        }
        return new RescoredException(Kind.UNREACHABLE, address.endpoint + " cannot be reached: " + reason(fault), fault);
    }

    private static String reason(IOException fault) {
        Throwable cause = fault.getCause() == null ? fault : fault.getCause();
        return cause.getMessage() == null ? cause.getClass().getSimpleName() : cause.getMessage();
    }

    private RescoredException circuitOpen() {
        return new RescoredException(Kind.CIRCUIT_OPEN, "not asked: each of " + addresses.size() + " addresses failed repeatedly, and is probed until it answers");
    }

    /** Sends this key from the next call on; empty sends none. */
    public void setKey(String key) {
        this.key = Builder.checkKey(key);
    }

    public ClientStats stats() {
        List<ClientStats.EndpointStats> endpoints = addresses.stream().map(address -> new ClientStats.EndpointStats(
                address.endpoint.toString(), address.breaker.state().name(), address.breaker.timesOpened())).toList();
        return new ClientStats(
                counters.calls.sum(), counters.answered.sum(), counters.documents.sum(), counters.cached.sum(),
                counters.failures(), counters.retries.sum(), counters.connections.sum(),
                addresses.stream().mapToLong(Address::idleConnections).sum(),
                options.maxConcurrent - slots.availablePermits(), counters.answeredMicros.sum(), endpoints);
    }

    @Override
    public void close() {
        addresses.forEach(Address::close);
    }

    /** What a client is built from; every value has a default. */
    public static final class Builder {

        private List<Endpoint> endpoints = List.of(Endpoint.parse("http://127.0.0.1:8787"));
        private String key = "";
        private String model = "";
        private int maxConcurrent = 16;
        private Duration connectTimeout = Duration.ofMillis(500);
        private SSLContext sslContext;
        private CircuitBreaker.Policy breaker = new CircuitBreaker.Policy(5, Duration.ofMillis(250), Duration.ofSeconds(2));

        private Builder() {}

        /** {@code http://host:port}, {@code https://host:port} or {@code unix:/path}, one or several. */
        public Builder endpoints(List<String> texts) {
            if (texts.isEmpty()) {
                throw new IllegalArgumentException("endpoints: none given");
            }
            endpoints = texts.stream().map(Endpoint::parse).toList();
            return this;
        }

        /** Sent as {@code Authorization: Bearer}; empty sends none. */
        public Builder key(String key) {
            this.key = checkKey(key);
            return this;
        }

        /** The model by its name at the sidecar; empty is its default. */
        public Builder model(String model) {
            this.model = model;
            return this;
        }

        /** Calls under way at once; further ones wait within their timeouts. 16 by default. */
        public Builder maxConcurrent(int calls) {
            if (calls < 1) {
                throw new IllegalArgumentException("maxConcurrent [" + calls + "]: must be at least 1");
            }
            maxConcurrent = calls;
            return this;
        }

        /** Of one connection, within the timeout of the call. 500 ms by default. */
        public Builder connectTimeout(Duration timeout) {
            connectTimeout = timeout;
            return this;
        }

        /** Whom to trust where an endpoint begins with https; the JDK's own context by default. */
        public Builder sslContext(SSLContext context) {
            sslContext = context;
            return this;
        }

        /** Failures in a row that open the breaker of an address (5), and the pauses before it is probed (250 ms, doubling to 2 s). */
        public Builder breaker(int failures, Duration firstPause, Duration longestPause) {
            if (failures < 1 || firstPause.isNegative() || longestPause.compareTo(firstPause) < 0) {
                throw new IllegalArgumentException("breaker: at least one failure, and pauses that do not shrink");
            }
            breaker = new CircuitBreaker.Policy(failures, firstPause, longestPause);
            return this;
        }

        public RescoredClient build() {
            return new RescoredClient(this);
        }

        private static String checkKey(String key) {
            if (!key.chars().allMatch(next -> next > ' ' && next < 0x7f)) {
                throw new IllegalArgumentException("key: only visible ASCII characters can be sent");
            }
            return key;
        }

        CircuitBreaker.Policy breaker() {
            return breaker;
        }

        Duration connectTimeout() {
            return connectTimeout;
        }

        int maxConcurrent() {
            return maxConcurrent;
        }

        SSLContext sslContext() {
            try {
                return sslContext == null ? SSLContext.getDefault() : sslContext;
            } catch (NoSuchAlgorithmException fault) {
                throw new IllegalStateException("the JDK has no default TLS context", fault);
            }
        }
    }
}
