package dev.rescored.client;

import static dev.rescored.client.FakeSidecar.TWO;
import static dev.rescored.client.FakeSidecar.answering;
import static dev.rescored.client.FakeSidecar.hanging;
import static dev.rescored.client.FakeSidecar.header;
import static dev.rescored.client.FakeSidecar.saying;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.rescored.client.RescoredException.Kind;
import java.io.IOException;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The client against a sidecar that fails in every way that we know. */
@Timeout(60)
class FaultsTest {

    private static final List<String> DOCUMENTS = List.of("one", "two");
    private static final float[] SCORES = {0.25f, 0.5f};

    private static RescoredClient client(String... endpoints) {
        return patient().endpoints(List.of(endpoints)).build();
    }

    /** A breaker that these tests do not open by accident. */
    private static RescoredClient.Builder patient() {
        return RescoredClient.builder().breaker(1000, Duration.ofMillis(50), Duration.ofMillis(200));
    }

    private static float[] ask(RescoredClient client, int millis) throws RescoredException {
        return client.scores("query", DOCUMENTS, Duration.ofMillis(millis));
    }

    private static void assertFails(Kind kind, RescoredClient client, int millis) {
        long start = System.nanoTime();
        RescoredException fault = assertThrows(RescoredException.class, () -> ask(client, millis));
        assertEquals(kind, fault.kind(), fault.getMessage());
        assertFalse(fault.getMessage().contains("query"), fault.getMessage());
        long took = (System.nanoTime() - start) / 1_000_000;
        assertTrue(took < millis + 250, took + " ms, where " + millis + " were allowed");
    }

    /** A port on which nobody listens. */
    static int freePort() throws IOException {
        try (ServerSocket server = new ServerSocket(0)) {
            return server.getLocalPort();
        }
    }

    @Test
    void connections_are_kept_and_the_deadline_travels() throws Exception {
        try (FakeSidecar fake = new FakeSidecar(answering(200, TWO)); RescoredClient client = patient().endpoints(List.of(fake.address())).key("k").build()) {
            for (int n = 0; n < 10; n++) {
                assertArrayEquals(SCORES, ask(client, 1000));
            }
            assertEquals(1, fake.connections.get());
            String head = fake.heads.get(0);
            assertTrue(head.startsWith("POST /v1/rerank HTTP/1.1\r\n"), head);
            assertEquals("127.0.0.1:" + fake.port(), header(head, "Host"));
            assertEquals("Bearer k", header(head, "Authorization"));
            int told = Integer.parseInt(header(head, "X-Request-Timeout-Ms"));
            assertTrue(told > 700 && told <= 980, told + " ms");
            client.setKey("");
            ask(client, 1000);
            assertNull(header(fake.heads.get(10), "Authorization"));
            ClientStats stats = client.stats();
            assertEquals(List.of(11L, 11L, 22L, 1L, 1L, 0L), List.of(
                    stats.calls(), stats.answered(), stats.documents(), stats.connectionsOpened(), stats.connectionsIdle(), stats.inFlight()));
        }
    }

    @Test
    void no_documents_no_call() throws Exception {
        try (RescoredClient client = client("http://127.0.0.1:1")) {
            assertEquals(0, client.scores("q", List.of(), Duration.ofMillis(1)).length);
        }
    }

    @Test
    void a_dead_sidecar_is_unreachable_at_once() throws Exception {
        try (RescoredClient client = client("http://127.0.0.1:" + freePort()); RescoredClient socket = client("unix:/nowhere/rescored.sock")) {
            assertFails(Kind.UNREACHABLE, client, 1000);
            assertFails(Kind.UNREACHABLE, socket, 1000);
        }
    }

    @Test
    void a_hanging_sidecar_costs_the_timeout_and_no_more() throws Exception {
        try (FakeSidecar fake = new FakeSidecar(hanging()); RescoredClient client = client(fake.address())) {
            assertFails(Kind.TIMEOUT, client, 100);
        }
    }

    @Test
    void a_sidecar_that_does_not_read_costs_the_timeout_and_no_more() throws Exception {
        // It accepts, by its backlog, and never reads: a body larger than the buffers of the sockets cannot be sent.
        try (ServerSocket silent = new ServerSocket(0); RescoredClient client = client("http://127.0.0.1:" + silent.getLocalPort())) {
            RescoredException fault = assertThrows(RescoredException.class,
                    () -> client.scores("q", List.of("x".repeat(32 << 20)), Duration.ofMillis(300)));
            assertEquals(Kind.TIMEOUT, fault.kind(), fault.getMessage());
        }
    }

    @Test
    void an_answer_that_drips_costs_the_timeout_and_no_more() throws Exception {
        try (FakeSidecar fake = new FakeSidecar((head, out) -> {
            FakeSidecar.write(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n");
            for (int n = 0; n < 1000; n++) {
                FakeSidecar.write(out, " ");
                Thread.sleep(20);
            }
            return false;
        }); RescoredClient client = client(fake.address())) {
            assertFails(Kind.TIMEOUT, client, 150);
        }
    }

    @Test
    void refusals_are_told_apart() throws Exception {
        Object[][] cases = {{429, Kind.OVERLOADED}, {503, Kind.OVERLOADED}, {401, Kind.UNAUTHORIZED}, {403, Kind.UNAUTHORIZED},
            {400, Kind.REFUSED}, {404, Kind.REFUSED}, {413, Kind.REFUSED}, {500, Kind.REFUSED}, {502, Kind.UNREACHABLE}, {504, Kind.TIMEOUT}, {302, Kind.REFUSED}};
        try (FakeSidecar fake = new FakeSidecar(answering(200, TWO)); RescoredClient client = client(fake.address())) {
            for (Object[] one : cases) {
                fake.behave(answering((int) one[0], "{\"error\":\"no\"}"));
                assertFails((Kind) one[1], client, 1000);
            }
            assertEquals(1, fake.connections.get(), "a refusal ends no connection");
            assertEquals(2, client.stats().failures().get(Kind.OVERLOADED));
        }
    }

    @Test
    void answers_that_are_none_are_malformed() throws Exception {
        String ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        String[] answers = {
            "garbage\r\n\r\n", "\u0000\u0001\u0002\r\n\r\n", ok + "Content-Length: 5\r\n\r\n{\"re", ok + "Content-Length: 2\r\n\r\n{}",
            ok + "\r\n" + TWO, ok + "Content-Length: 99999999\r\n\r\n" + TWO, ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: " + TWO.length() + "\r\n\r\n" + TWO,
            "HTTP/1.1 200 OK\r\nContent-Length: " + TWO.length() + "\r\n\r\n" + TWO,
            ok + "Content-Length: 63\r\n\r\n{\"results\":[{\"index\":0,\"relevance_score\":NaN},{\"index\":1,\"rel\":1}]}",
        };
        try (FakeSidecar fake = new FakeSidecar(hanging()); RescoredClient client = client(fake.address())) {
            for (String answer : answers) {
                fake.behave(saying(answer));
                assertFails(Kind.MALFORMED, client, 2000);
            }
            fake.behave(answering(200, TWO));
            assertArrayEquals(SCORES, ask(client, 1000));
        }
    }

    @Test
    void chunked_answers_are_read() throws Exception {
        try (FakeSidecar fake = new FakeSidecar((head, out) -> {
            FakeSidecar.write(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
            for (char next : TWO.toCharArray()) {
                FakeSidecar.write(out, "1\r\n" + next + "\r\n");
            }
            FakeSidecar.write(out, "0\r\n\r\n");
            return true;
        }); RescoredClient client = client(fake.address())) {
            assertArrayEquals(SCORES, ask(client, 2000));
            assertArrayEquals(SCORES, ask(client, 2000));
            assertEquals(1, fake.connections.get());
        }
    }

    @Test
    void a_kept_connection_that_has_ended_costs_no_call() throws Exception {
        try (FakeSidecar fake = new FakeSidecar((head, out) -> {
            answering(200, TWO).answer(head, out);
            return false;
        }); RescoredClient client = client(fake.address())) {
            for (int n = 0; n < 20; n++) {
                assertArrayEquals(SCORES, ask(client, 1000));
            }
            assertEquals(20, fake.connections.get());
        }
        // Ended by the peer only once the next request has come.
        try (FakeSidecar fake = new FakeSidecar(answering(200, TWO)); RescoredClient client = client(fake.address())) {
            ask(client, 1000);
            fake.behave((head, out) -> {
                fake.behave(answering(200, TWO));
                return false;
            });
            assertArrayEquals(SCORES, ask(client, 1000));
            assertEquals(1, client.stats().retries());
        }
    }

    @Test
    void of_several_addresses_the_ones_that_answer_are_used() throws Exception {
        String dead = "http://127.0.0.1:" + freePort();
        try (FakeSidecar full = new FakeSidecar(answering(429, "{}")); FakeSidecar good = new FakeSidecar(answering(200, TWO));
                RescoredClient client = RescoredClient.builder().endpoints(List.of(dead, full.address(), good.address())).build()) {
            for (int n = 0; n < 30; n++) {
                assertArrayEquals(SCORES, ask(client, 1000));
            }
            List<String> breakers = client.stats().endpoints().stream().map(ClientStats.EndpointStats::breaker).toList();
            assertEquals(List.of("OPEN", "CLOSED", "CLOSED"), breakers);
            assertTrue(full.heads.size() >= 10, "each call begins with the next in turn");
        }
    }

    @Test
    void a_refused_request_and_a_passed_deadline_go_to_no_other_address() throws Exception {
        try (FakeSidecar bad = new FakeSidecar(answering(400, "{}")); FakeSidecar other = new FakeSidecar(answering(400, "{}"));
                RescoredClient client = client(bad.address(), other.address())) {
            assertFails(Kind.REFUSED, client, 1000);
            assertEquals(1, bad.heads.size() + other.heads.size());
            bad.behave(hanging());
            other.behave(hanging());
            assertFails(Kind.TIMEOUT, client, 100);
            assertEquals(3, bad.heads.size() + other.heads.size() + 1);
        }
    }

    @Test
    void the_breaker_spares_searches_the_timeout_and_finds_the_sidecar_again() throws Exception {
        try (FakeSidecar fake = new FakeSidecar(hanging());
                RescoredClient client = RescoredClient.builder().endpoints(List.of(fake.address())).breaker(3, Duration.ofMillis(100), Duration.ofMillis(200)).build()) {
            for (int n = 0; n < 3; n++) {
                assertFails(Kind.TIMEOUT, client, 50);
            }
            long start = System.nanoTime();
            for (int n = 0; n < 100; n++) {
                assertFails(Kind.CIRCUIT_OPEN, client, 50);
            }
            assertTrue(System.nanoTime() - start < 50_000_000, "calls that are not made take no time");
            fake.behave(answering(200, TWO));
            long until = System.nanoTime() + Duration.ofSeconds(2).toNanos();
            while (!client.stats().endpoints().get(0).breaker().equals("CLOSED")) {
                assertTrue(System.nanoTime() < until, "it was not found again");
                Thread.sleep(10);
                try {
                    ask(client, 50);
                } catch (RescoredException notYet) {
                    assertEquals(Kind.CIRCUIT_OPEN, notYet.kind());
                }
            }
            assertEquals(1, client.stats().endpoints().get(0).timesOpened());
        }
    }

    @Test
    void calls_beyond_the_limit_wait_within_their_timeouts() throws Exception {
        CountDownLatch arrived = new CountDownLatch(1);
        CountDownLatch answer = new CountDownLatch(1);
        try (FakeSidecar fake = new FakeSidecar((head, out) -> {
            arrived.countDown();
            answer.await();
            return answering(200, TWO).answer(head, out);
        }); RescoredClient client = patient().endpoints(List.of(fake.address())).maxConcurrent(1).build()) {
            AtomicReference<float[]> first = new AtomicReference<>();
            Thread thread = new Thread(() -> {
                try {
                    first.set(ask(client, 10_000));
                } catch (RescoredException fault) {
                    throw new AssertionError(fault);
                }
            });
            thread.start();
            assertTrue(arrived.await(5, TimeUnit.SECONDS));
            assertFails(Kind.LIMIT, client, 100);
            assertEquals(1, client.stats().inFlight());
            answer.countDown();
            assertArrayEquals(SCORES, ask(client, 5000));
            thread.join();
            assertArrayEquals(SCORES, first.get());
        }
    }

    @Test
    void an_interrupted_thread_is_let_go() throws Exception {
        try (FakeSidecar fake = new FakeSidecar(hanging()); RescoredClient client = client(fake.address())) {
            AtomicReference<Kind> kind = new AtomicReference<>();
            AtomicReference<Boolean> flag = new AtomicReference<>();
            Thread thread = new Thread(() -> {
                try {
                    ask(client, 30_000);
                } catch (RescoredException fault) {
                    kind.set(fault.kind());
                    flag.set(Thread.currentThread().isInterrupted());
                }
            });
            thread.start();
            Thread.sleep(100);
            thread.interrupt();
            thread.join(2000);
            assertEquals(Kind.CANCELLED, kind.get());
            assertEquals(true, flag.get());
        }
    }

    @Test
    void keys_that_would_change_the_head_are_refused() {
        assertThrows(IllegalArgumentException.class, () -> RescoredClient.builder().key("a\r\nHost: b"));
        assertThrows(IllegalArgumentException.class, () -> RescoredClient.builder().endpoints(List.of()));
        assertThrows(IllegalArgumentException.class, () -> RescoredClient.builder().maxConcurrent(0));
    }
}
