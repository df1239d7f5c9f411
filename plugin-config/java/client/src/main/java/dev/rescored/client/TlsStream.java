package dev.rescored.client;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLEngineResult.HandshakeStatus;
import javax.net.ssl.SSLEngineResult.Status;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;

/** TLS over a socket; the certificate must be valid for the host's name. */
final class TlsStream implements ByteStream {

    private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

    private final SocketStream socket;
    private final SSLEngine engine;
    // Encrypted bytes that came, from position to limit.
    private final ByteBuffer received;
    // Encrypted bytes that go next.
    private final ByteBuffer sending;
    // Plain bytes that came and were not asked for yet, from position to limit.
    private ByteBuffer plain;

    private TlsStream(SocketStream socket, SSLEngine engine) {
        this.socket = socket;
        this.engine = engine;
        int packet = engine.getSession().getPacketBufferSize();
        this.received = ByteBuffer.allocate(packet).flip();
        this.sending = ByteBuffer.allocate(packet);
        this.plain = ByteBuffer.allocate(engine.getSession().getApplicationBufferSize()).flip();
    }

    static TlsStream over(SocketStream socket, SSLContext context, Endpoint endpoint, Deadline deadline) throws IOException {
        SSLEngine engine = context.createSSLEngine(endpoint.host(), endpoint.port());
        engine.setUseClientMode(true);
        SSLParameters parameters = engine.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        engine.setSSLParameters(parameters);
        TlsStream stream = new TlsStream(socket, engine);
        engine.beginHandshake();
        stream.shakeHands(deadline);
        return stream;
    }

    private void shakeHands(Deadline deadline) throws IOException {
        while (true) {
            HandshakeStatus status = engine.getHandshakeStatus();
            switch (status) {
                case FINISHED, NOT_HANDSHAKING -> {
                    return;
                }
                case NEED_TASK -> runTasks();
                case NEED_WRAP -> send(NOTHING, deadline);
                case NEED_UNWRAP, NEED_UNWRAP_AGAIN -> {
                    if (receive(deadline) < 0) {
                        throw new EOFException("the connection ended within the TLS handshake");
                    }
                }
            }
        }
    }

    @Override
    public int read(ByteBuffer into, Deadline deadline) throws IOException {
        while (!plain.hasRemaining()) {
            if (receive(deadline) < 0) {
                return -1;
            }
            // Keys may be changed at any time.
            shakeHandsAgain(deadline);
        }
        int count = Math.min(into.remaining(), plain.remaining());
        into.put(plain.slice(plain.position(), count));
        plain.position(plain.position() + count);
        return count;
    }

    private void shakeHandsAgain(Deadline deadline) throws IOException {
        while (engine.getHandshakeStatus() == HandshakeStatus.NEED_TASK || engine.getHandshakeStatus() == HandshakeStatus.NEED_WRAP) {
            runTasks();
            if (engine.getHandshakeStatus() == HandshakeStatus.NEED_WRAP) {
                send(NOTHING, deadline);
            }
        }
    }

    @Override
    public void write(ByteBuffer from, Deadline deadline) throws IOException {
        while (from.hasRemaining()) {
            send(from, deadline);
        }
    }

    /** Encrypts one record, and sends it. */
    private void send(ByteBuffer from, Deadline deadline) throws IOException {
        sending.clear();
        SSLEngineResult result = engine.wrap(from, sending);
        if (result.getStatus() != Status.OK) {
            throw new SSLException("TLS cannot send: " + result.getStatus());
        }
        socket.write(sending.flip(), deadline);
    }

    /**
     * Decrypts one record into what may be read, waiting for it.
     *
     * @return -1 at the end, else 0 or the number of plain bytes
     */
    private int receive(Deadline deadline) throws IOException {
        while (true) {
            plain.compact();
            SSLEngineResult result = engine.unwrap(received, plain);
            plain.flip();
            switch (result.getStatus()) {
                case OK -> {
                    return result.bytesProduced();
                }
                case CLOSED -> {
                    return -1;
                }
                case BUFFER_OVERFLOW -> {
                    int size = plain.remaining() + engine.getSession().getApplicationBufferSize();
                    plain = ByteBuffer.allocate(size).put(plain).flip();
                }
                case BUFFER_UNDERFLOW -> {
                    received.compact();
                    try {
                        if (socket.read(received, deadline) < 0) {
                            return -1;
                        }
                    } finally {
                        received.flip();
                    }
                }
            }
        }
    }

    private void runTasks() {
        Runnable task;
        while ((task = engine.getDelegatedTask()) != null) {
            task.run();
        }
    }

    @Override
    public boolean isQuiet() {
        // Session tickets come after the handshake: such bytes only cost this connection its reuse.
        return !plain.hasRemaining() && !received.hasRemaining() && socket.isQuiet();
    }

    @Override
    public void close() {
        engine.closeOutbound();
        socket.close();
    }
}
