package dev.rescored.client;

import dev.rescored.client.HttpResponse.NothingException;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.function.Supplier;
import javax.net.ssl.SSLContext;

/** One sidecar: its breaker, and its connections that are kept open. Safe for many threads. */
final class Address {

    // Shorter than the sidecar's RESCORED_KEEP_ALIVE (90 s) and than what most balancers allow.
    private static final long IDLE_NANOS = Duration.ofSeconds(30).toNanos();
    // So much earlier the sidecar is told to give up, that its answer still arrives and the connection stays usable.
    private static final long LARGEST_MARGIN_MILLIS = 20;

    final Endpoint endpoint;
    final CircuitBreaker breaker;
    private final Supplier<SSLContext> tls;
    private final Duration connectTimeout;
    private final int keep;
    private final Counters counters;
    private final ArrayDeque<Idle> idle = new ArrayDeque<>();
    private boolean closed;

    private record Idle(ByteStream stream, long since) {}

    Address(Endpoint endpoint, RescoredClient.Builder options, Counters counters) {
        this.endpoint = endpoint;
        this.breaker = new CircuitBreaker(options.breaker(), System::nanoTime);
        this.tls = options::sslContext;
        this.connectTimeout = options.connectTimeout();
        this.keep = options.maxConcurrent();
        this.counters = counters;
    }

    /** One exchange; on a kept connection that turns out to have ended, once more on a new one. */
    HttpResponse post(String key, byte[] body, int answerLimit, Deadline deadline) throws IOException {
        ByteStream kept = takeIdle();
        if (kept != null) {
            try {
                return exchange(kept, key, body, answerLimit, deadline);
            } catch (NothingException stale) {
                counters.retries.increment();
            }
        }
        return exchange(connect(deadline), key, body, answerLimit, deadline);
    }

    private HttpResponse exchange(ByteStream stream, String key, byte[] body, int answerLimit, Deadline deadline) throws IOException {
        boolean keeps = false;
        try {
            boolean whole = send(stream, key, body, deadline);
            HttpResponse response = HttpResponse.read(stream, answerLimit, deadline);
            keeps = whole && response.reusable();
            return response;
        } finally {
            if (keeps) {
                giveBack(stream);
            } else {
                stream.close();
            }
        }
    }

    /** False when the peer took only a part: it may have answered before it stopped reading, as with 413. */
    private boolean send(ByteStream stream, String key, byte[] body, Deadline deadline) throws IOException {
        byte[] head = head(key, body.length, deadline).getBytes(StandardCharsets.ISO_8859_1);
        ByteBuffer request = ByteBuffer.allocate(head.length + body.length).put(head).put(body).flip();
        try {
            stream.write(request, deadline);
            return true;
        } catch (ByteStream.DeadlineException | InterruptedIOException | ClosedByInterruptException fault) {
            throw fault;
        } catch (IOException refused) {
            return false;
        }
    }

    private String head(String key, int length, Deadline deadline) throws IOException {
        long millis = deadline.remainingMillis();
        if (millis <= 0) {
            throw new ByteStream.DeadlineException("no time is left before sending the request");
        }
        long told = Math.max(1, millis - Math.min(LARGEST_MARGIN_MILLIS, millis / 20));
        String authorization = key.isEmpty() ? "" : "Authorization: Bearer " + key + "\r\n";
        return "POST " + endpoint.prefix() + "/v1/rerank HTTP/1.1\r\nHost: " + endpoint.authority()
                + "\r\nContent-Type: application/json\r\nAccept: application/json\r\nContent-Length: " + length
                + "\r\nX-Request-Timeout-Ms: " + told + "\r\n" + authorization + "\r\n";
    }

    private ByteStream connect(Deadline deadline) throws IOException {
        Deadline soon = deadline.atMost(connectTimeout);
        SocketStream socket;
        try {
            socket = SocketStream.connect(endpoint.resolve(), soon);
        } catch (ByteStream.DeadlineException late) {
            throw deadline.hasPassed() ? late : new IOException("no connection within " + connectTimeout.toMillis() + " ms", late);
        }
        counters.connections.increment();
        if (!endpoint.tls()) {
            return socket;
        }
        try {
            return TlsStream.over(socket, tls.get(), endpoint, deadline);
        } catch (IOException | RuntimeException fault) {
            socket.close();
            throw fault;
        }
    }

    private synchronized ByteStream takeIdle() {
        while (!idle.isEmpty()) {
            // The one used last: the others grow old and go.
            Idle last = idle.removeLast();
            if (System.nanoTime() - last.since < IDLE_NANOS && last.stream.isQuiet()) {
                return last.stream;
            }
            last.stream.close();
        }
        return null;
    }

    private synchronized void giveBack(ByteStream stream) {
        long now = System.nanoTime();
        while (!idle.isEmpty() && (now - idle.peekFirst().since >= IDLE_NANOS || idle.size() >= keep)) {
            idle.removeFirst().stream.close();
        }
        if (closed) {
            stream.close();
        } else {
            idle.addLast(new Idle(stream, now));
        }
    }

    synchronized int idleConnections() {
        return idle.size();
    }

    synchronized void close() {
        closed = true;
        idle.forEach(kept -> kept.stream.close());
        idle.clear();
    }

}
