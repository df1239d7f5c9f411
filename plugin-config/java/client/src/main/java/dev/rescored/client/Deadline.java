package dev.rescored.client;

import java.time.Duration;

/** A moment on {@link System#nanoTime()}. */
record Deadline(long nanos) {

    static Deadline after(Duration time) {
        return new Deadline(System.nanoTime() + time.toNanos());
    }

    long remainingNanos() {
        return nanos - System.nanoTime();
    }

    /** Rounded up, so that somebody who waits for it does not wake too early; 0 or less when it has passed. */
    long remainingMillis() {
        long left = remainingNanos();
        return left <= 0 ? 0 : (left + 999_999) / 1_000_000;
    }

    boolean hasPassed() {
        return remainingNanos() <= 0;
    }

    /** This one, or the given time from now where that is sooner. */
    Deadline atMost(Duration time) {
        Deadline other = after(time);
        return other.nanos - nanos < 0 ? other : this;
    }
}
