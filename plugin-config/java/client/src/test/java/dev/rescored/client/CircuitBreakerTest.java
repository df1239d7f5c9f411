package dev.rescored.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.rescored.client.CircuitBreaker.Permit;
import dev.rescored.client.CircuitBreaker.State;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** The breaker on virtual time. */
class CircuitBreakerTest {

    private long now = Long.MAX_VALUE - 1_000_000;
    private final CircuitBreaker breaker = new CircuitBreaker(
            new CircuitBreaker.Policy(3, Duration.ofMillis(100), Duration.ofMillis(400)), () -> now);

    private void pass(long millis) {
        now += Duration.ofMillis(millis).toNanos();
    }

    private void fail(int times) {
        for (int n = 0; n < times; n++) {
            breaker.tryAcquire().failed();
        }
    }

    @Test
    void so_many_failures_in_a_row_open_it_and_a_success_between_does_not() {
        fail(2);
        breaker.tryAcquire().succeeded();
        fail(2);
        assertEquals(State.CLOSED, breaker.state());
        fail(1);
        assertEquals(State.OPEN, breaker.state());
        assertEquals(1, breaker.timesOpened());
        assertNull(breaker.tryAcquire());
        assertFalse(breaker.isWilling());
    }

    @Test
    void one_probe_at_a_time_goes_after_the_pause_and_its_success_closes_it() {
        fail(3);
        pass(99);
        assertNull(breaker.tryAcquire());
        pass(1);
        assertTrue(breaker.isWilling());
        Permit probe = breaker.tryAcquire();
        assertNotNull(probe);
        assertNull(breaker.tryAcquire());
        assertFalse(breaker.isWilling());
        probe.succeeded();
        assertEquals(State.CLOSED, breaker.state());
        fail(2);
        assertEquals(State.CLOSED, breaker.state());
    }

    @Test
    void a_probe_that_fails_doubles_the_pause_up_to_its_limit_and_success_forgets_it() {
        fail(3);
        for (long pause : new long[] {100, 200, 400, 400}) {
            pass(pause - 1);
            assertNull(breaker.tryAcquire(), pause + " ms");
            pass(1);
            breaker.tryAcquire().failed();
            assertEquals(State.OPEN, breaker.state());
        }
        pass(400);
        breaker.tryAcquire().succeeded();
        fail(3);
        pass(100);
        assertNotNull(breaker.tryAcquire());
        assertEquals(2, breaker.timesOpened());
    }

    @Test
    void a_probe_that_is_abandoned_makes_room_for_another() {
        fail(3);
        pass(100);
        breaker.tryAcquire().abandoned();
        assertEquals(State.HALF_OPEN, breaker.state());
        assertNotNull(breaker.tryAcquire());
    }

    @Test
    void what_calls_of_another_time_tell_changes_nothing() {
        Permit early = breaker.tryAcquire();
        Permit late = breaker.tryAcquire();
        fail(3);
        early.succeeded();
        assertEquals(State.OPEN, breaker.state());
        pass(100);
        breaker.tryAcquire().succeeded();
        late.failed();
        fail(2);
        assertEquals(State.CLOSED, breaker.state());
    }

    @Test
    void an_outcome_is_told_once() {
        Permit permit = breaker.tryAcquire();
        permit.succeeded();
        assertThrows(IllegalStateException.class, permit::failed);
    }

    /** Random calls: while it is not closed, never two at once, never before the longest pause can be over. */
    @Test
    void whatever_happens_an_address_that_fails_is_asked_by_one_call_at_a_time() {
        Random random = new Random(7);
        for (int run = 0; run < 200; run++) {
            CircuitBreaker one = new CircuitBreaker(
                    new CircuitBreaker.Policy(1 + random.nextInt(4), Duration.ofMillis(100), Duration.ofMillis(400)), () -> now);
            List<Permit> open = new ArrayList<>();
            for (int step = 0; step < 200; step++) {
                pass(random.nextInt(60));
                State before = one.state();
                Permit permit = one.tryAcquire();
                if (permit != null) {
                    open.add(permit);
                }
                if (one.state() == State.HALF_OPEN) {
                    assertNull(one.tryAcquire(), "a second probe");
                }
                if (before == State.CLOSED) {
                    assertNotNull(permit);
                }
                if (!open.isEmpty() && random.nextBoolean()) {
                    Permit ended = open.remove(random.nextInt(open.size()));
                    switch (random.nextInt(3)) {
                        case 0 -> ended.succeeded();
                        case 1 -> ended.failed();
                        default -> ended.abandoned();
                    }
                }
            }
            open.forEach(Permit::abandoned);
            pass(400);
            assertTrue(one.isWilling());
        }
    }
}
