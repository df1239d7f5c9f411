package dev.rescored.client;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.StandardSocketOptions;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;

/**
 * A TCP or UNIX socket.
 *
 * <p>Blocking sockets of the JDK have no deadline for writes, and UNIX sockets none for reads either, so the channel
 * does not block and a selector of its own waits.
 */
final class SocketStream implements ByteStream {

    // The JDK copies heap buffers through a direct one that it keeps for the thread: whole bodies would keep megabytes.
    private static final int SLICE = 64 * 1024;

    private final SocketChannel channel;
    private final Selector selector;
    private final SelectionKey key;

    private SocketStream(SocketChannel channel, Selector selector, SelectionKey key) {
        this.channel = channel;
        this.selector = selector;
        this.key = key;
    }

    static SocketStream connect(SocketAddress address, Deadline deadline) throws IOException {
        boolean unix = address instanceof UnixDomainSocketAddress;
        SocketChannel channel = unix ? SocketChannel.open(StandardProtocolFamily.UNIX) : SocketChannel.open();
        Selector selector = null;
        try {
            channel.configureBlocking(false);
            if (!unix) {
                channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
            }
            boolean connected = channel.connect(address);
            selector = Selector.open();
            SocketStream stream = new SocketStream(channel, selector, channel.register(selector, 0));
            while (!connected) {
                stream.await(SelectionKey.OP_CONNECT, deadline, "connecting");
                connected = channel.finishConnect();
            }
            return stream;
        } catch (IOException | RuntimeException fault) {
            closeAll(channel, selector);
            throw fault;
        }
    }

    @Override
    public int read(ByteBuffer into, Deadline deadline) throws IOException {
        while (true) {
            int count = channel.read(into);
            if (count != 0) {
                return count;
            }
            await(SelectionKey.OP_READ, deadline, "waiting for the answer");
        }
    }

    @Override
    public void write(ByteBuffer from, Deadline deadline) throws IOException {
        int end = from.limit();
        while (from.position() < end) {
            from.limit(Math.min(end, from.position() + SLICE));
            int count = channel.write(from);
            from.limit(end);
            if (count == 0) {
                await(SelectionKey.OP_WRITE, deadline, "sending the request");
            }
        }
    }

    @Override
    public boolean isQuiet() {
        try {
            return channel.isOpen() && channel.read(ByteBuffer.allocate(1)) == 0;
        } catch (IOException gone) {
            return false;
        }
    }

    @Override
    public void close() {
        closeAll(channel, selector);
    }

    private void await(int operation, Deadline deadline, String what) throws IOException {
        key.interestOps(operation);
        while (true) {
            long left = deadline.remainingMillis();
            if (left <= 0) {
                throw new DeadlineException("no time is left while " + what);
            }
            int ready = selector.select(left);
            selector.selectedKeys().clear();
            if (Thread.currentThread().isInterrupted()) {
                throw new InterruptedIOException("interrupted while " + what);
            }
            if (ready > 0) {
                return;
            }
        }
    }

    private static void closeAll(SocketChannel channel, Selector selector) {
        try {
            channel.close();
        } catch (IOException gone) {
            // The descriptor is given back either way.
        }
        if (selector != null) {
            try {
                selector.close();
            } catch (IOException gone) {
                // As above.
            }
        }
    }
}
