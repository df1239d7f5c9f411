package dev.rescored.client;

import java.time.Duration;
import java.util.function.LongSupplier;

/**
 * Keeps calls away from an address that fails, and finds out when it is back.
 *
 * <p>Closed: every call may go; so many failures in a row open it. Open: no call may go until a pause is over. Half
 * open: one call at a time may go as a probe; one that succeeds closes the breaker, one that fails doubles the pause
 * up to its limit. Pure: time comes from outside.
 */
final class CircuitBreaker {

    /**
     * @param failures in a row that open it
     * @param firstPause before the first probe
     * @param longestPause to which pauses double
     */
    record Policy(int failures, Duration firstPause, Duration longestPause) {}

    enum State { CLOSED, OPEN, HALF_OPEN }

    /** The right to make one call. Its outcome must be told exactly once. */
    final class Permit {

        private final long epoch;
        private final boolean probe;
        private boolean told;

        private Permit(long epoch, boolean probe) {
            this.epoch = epoch;
            this.probe = probe;
        }

        void succeeded() {
            tell(this, Outcome.SUCCESS);
        }

        void failed() {
            tell(this, Outcome.FAILURE);
        }

        /** The call ended without saying anything of the address. */
        void abandoned() {
            tell(this, Outcome.NONE);
        }
    }

    private enum Outcome { SUCCESS, FAILURE, NONE }

    private final Policy policy;
    private final LongSupplier nanos;

    private State state = State.CLOSED;
    // Changes with every change of state: what a call of an earlier epoch tells is news of another time.
    private long epoch;
    private int failures;
    private boolean probing;
    private long pause;
    private long openUntil;
    private long opened;

    CircuitBreaker(Policy policy, LongSupplier nanos) {
        this.policy = policy;
        this.nanos = nanos;
        this.pause = policy.firstPause().toNanos();
    }

    /** A permit, or null when no call may go. */
    synchronized Permit tryAcquire() {
        if (state == State.OPEN && nanos.getAsLong() - openUntil >= 0) {
            become(State.HALF_OPEN);
        }
        if (state == State.OPEN || state == State.HALF_OPEN && probing) {
            return null;
        }
        probing = state == State.HALF_OPEN;
        return new Permit(epoch, probing);
    }

    /** Whether a call that asked now would get a permit, as far as can be seen. */
    synchronized boolean isWilling() {
        return switch (state) {
            case CLOSED -> true;
            case OPEN -> nanos.getAsLong() - openUntil >= 0;
            case HALF_OPEN -> !probing;
        };
    }

    synchronized State state() {
        return state;
    }

    /** How often it went from closed to open. */
    synchronized long timesOpened() {
        return opened;
    }

    private synchronized void tell(Permit permit, Outcome outcome) {
        if (permit.told) {
            throw new IllegalStateException("the outcome of a call is told once");
        }
        permit.told = true;
        if (permit.epoch != epoch) {
            return;
        }
        if (permit.probe) {
            probing = false;
            endProbe(outcome);
        } else if (outcome == Outcome.SUCCESS) {
            failures = 0;
        } else if (outcome == Outcome.FAILURE && ++failures >= policy.failures()) {
            opened++;
            open();
        }
    }

    private void endProbe(Outcome outcome) {
        if (outcome == Outcome.SUCCESS) {
            pause = policy.firstPause().toNanos();
            failures = 0;
            become(State.CLOSED);
        } else if (outcome == Outcome.FAILURE) {
            pause = Math.min(pause * 2, policy.longestPause().toNanos());
            open();
        }
    }

    private void open() {
        openUntil = nanos.getAsLong() + pause;
        become(State.OPEN);
    }

    private void become(State next) {
        state = next;
        epoch++;
    }
}
