package dev.rescored.client;

/** Why there are no scores. The message never holds text of a query or a document. */
public final class RescoredException extends Exception {

    private static final long serialVersionUID = 1L;

    /** What counters and callers distinguish. */
    public enum Kind {
        /** The deadline passed, here or in the sidecar (504). */
        TIMEOUT,
        /** No connection, or one that broke. */
        UNREACHABLE,
        /** The sidecar has too much work or is not ready: 429 or 503. */
        OVERLOADED,
        /** The key is missing or wrong: 401 or 403. */
        UNAUTHORIZED,
        /** Any other status that is not 200. */
        REFUSED,
        /** An answer that is not one: no HTTP, no JSON, scores missing, doubled or not finite. */
        MALFORMED,
        /** Every address failed so often that none is asked for the moment. */
        CIRCUIT_OPEN,
        /** As many calls as may be were under way until the deadline. */
        LIMIT,
        /** The calling thread was interrupted. */
        CANCELLED
    }

    private final Kind kind;

    RescoredException(Kind kind, String message) {
        super(message);
        this.kind = kind;
    }

    RescoredException(Kind kind, String message, Throwable cause) {
        super(message, cause);
        this.kind = kind;
    }

    public Kind kind() {
        return kind;
    }
}
