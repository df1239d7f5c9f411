package dev.rescored.client;

import static dev.rescored.client.FakeSidecar.TWO;
import static dev.rescored.client.FakeSidecar.answering;
import static dev.rescored.client.FakeSidecar.hanging;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.UnixOperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A thousand calls against a dead, a hanging and a flapping sidecar leave no thread and no descriptor. */
@Timeout(120)
class LeaksTest {

    private static final int CALLS = 1000;
    private static final List<String> DOCUMENTS = List.of("one", "two");

    private static long descriptors() {
        return ((UnixOperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getOpenFileDescriptorCount();
    }

    private static int threads() {
        return ManagementFactory.getThreadMXBean().getThreadCount();
    }

    /** What the JDK opens at the first use and keeps. */
    @BeforeAll
    static void warm() throws Exception {
        try (FakeSidecar fake = new FakeSidecar(answering(200, TWO))) {
            run(fake.address(), 20, Duration.ofMillis(200));
            run("unix:/nowhere/rescored.sock", 20, Duration.ofMillis(200));
        }
    }

    /** The number of calls that were answered. */
    private static long run(String endpoint, int calls, Duration timeout) throws Exception {
        ExecutorService callers = Executors.newFixedThreadPool(8);
        try (RescoredClient client = RescoredClient.builder().endpoints(List.of(endpoint)).maxConcurrent(8)
                // It stays closed, so that every call is made.
                .breaker(CALLS + 1, Duration.ofMillis(1), Duration.ofMillis(1)).build()) {
            for (int n = 0; n < calls; n++) {
                callers.submit(() -> client.scores("q", DOCUMENTS, timeout));
            }
            callers.shutdown();
            assertTrue(callers.awaitTermination(60, TimeUnit.SECONDS));
            ClientStats stats = client.stats();
            assertEquals(calls, stats.answered() + stats.failures().values().stream().mapToLong(Long::longValue).sum());
            assertEquals(0, stats.inFlight());
            assertTrue(stats.connectionsIdle() <= 8, stats.toString());
            return stats.answered();
        }
    }

    private static void assertSettles(int threads, long descriptors) throws InterruptedException {
        long until = System.nanoTime() + Duration.ofSeconds(10).toNanos();
        while (threads() > threads || descriptors() > descriptors) {
            assertTrue(System.nanoTime() < until, threads + " threads and " + descriptors + " descriptors before, " + threads() + " and " + descriptors() + " after");
            Thread.sleep(20);
        }
    }

    @Test
    void dead() throws Exception {
        int threads = threads();
        long descriptors = descriptors();
        assertEquals(0, run("http://127.0.0.1:" + FaultsTest.freePort(), CALLS, Duration.ofMillis(200)));
        assertEquals(0, run("unix:/nowhere/rescored.sock", CALLS, Duration.ofMillis(200)));
        assertSettles(threads, descriptors);
    }

    @Test
    void silent() throws Exception {
        int threads = threads();
        long descriptors = descriptors();
        try (FakeSidecar fake = new FakeSidecar(hanging())) {
            assertEquals(0, run(fake.address(), CALLS, Duration.ofMillis(15)));
        }
        assertSettles(threads, descriptors);
    }

    @Test
    void flapping() throws Exception {
        int threads = threads();
        long descriptors = descriptors();
        Random random = new Random(5);
        try (FakeSidecar fake = new FakeSidecar((head, out) -> {
            switch (random.nextInt(5)) {
                case 0 -> {
                    return false;
                }
                case 1 -> {
                    FakeSidecar.write(out, "HTTP/1.1 200 OK\r\nContent-Le");
                    return false;
                }
                case 2 -> Thread.sleep(40);
                default -> { }
            }
            return answering(200, TWO).answer(head, out);
        })) {
            long answered = run(fake.address(), CALLS, Duration.ofMillis(30));
            assertTrue(answered > CALLS / 10 && answered < CALLS, answered + " answered");
        }
        assertSettles(threads, descriptors);
    }
}
