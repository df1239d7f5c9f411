package dev.rescored.client;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;

/** Bytes in both directions, each wait ended by a deadline. One thread uses it at a time. */
interface ByteStream extends Closeable {

    /**
     * Reads at least one byte into a buffer that has room.
     *
     * @return their number, or -1 at the end
     * @throws DeadlineException when it passes before a byte comes
     */
    int read(ByteBuffer into, Deadline deadline) throws IOException;

    /** Writes all of it. */
    void write(ByteBuffer from, Deadline deadline) throws IOException;

    /** Whether an idle stream can serve another exchange: the peer has neither ended it nor sent anything. */
    boolean isQuiet();

    /** Never throws and never waits. */
    @Override
    void close();

    /** A deadline passed. */
    final class DeadlineException extends IOException {

        private static final long serialVersionUID = 1L;

        DeadlineException(String what) {
            super(what);
        }
    }
}
