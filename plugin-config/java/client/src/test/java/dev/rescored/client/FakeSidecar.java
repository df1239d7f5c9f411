package dev.rescored.client;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;

/** A sidecar that misbehaves as it is told, on a port of 127.0.0.1. */
final class FakeSidecar implements AutoCloseable {

    /** What is written for a request; returning false closes the connection. */
    interface Behaviour {
        boolean answer(String head, OutputStream out) throws IOException, InterruptedException;
    }

    static final String TWO = "{\"results\":[{\"index\":1,\"relevance_score\":0.5},{\"index\":0,\"relevance_score\":0.25}]}";

    final AtomicInteger connections = new AtomicInteger();
    final List<String> heads = new CopyOnWriteArrayList<>();
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();
    private final List<Thread> threads = new CopyOnWriteArrayList<>();
    private final ServerSocket server;
    private volatile Behaviour behaviour;

    FakeSidecar(Behaviour behaviour) throws IOException {
        this(behaviour, 0);
    }

    FakeSidecar(Behaviour behaviour, int port) throws IOException {
        this.behaviour = behaviour;
        server = new ServerSocket();
        server.setReuseAddress(true);
        server.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 512);
        start(this::accept);
    }

    String address() {
        return "http://127.0.0.1:" + port();
    }

    int port() {
        return server.getLocalPort();
    }

    void behave(Behaviour behaviour) {
        this.behaviour = behaviour;
    }

    static Behaviour answering(int status, String body) {
        return (head, out) -> {
            write(out, "HTTP/1.1 " + status + " X\r\nContent-Type: application/json\r\nContent-Length: " + body.getBytes(StandardCharsets.UTF_8).length + "\r\n\r\n" + body);
            return true;
        };
    }

    /** Writes these bytes and closes. */
    static Behaviour saying(String bytes) {
        return (head, out) -> {
            write(out, bytes);
            return false;
        };
    }

    /** Reads, and never answers. */
    static Behaviour hanging() {
        return (head, out) -> {
            Thread.sleep(600_000);
            return false;
        };
    }

    static void write(OutputStream out, String bytes) throws IOException {
        out.write(bytes.getBytes(StandardCharsets.UTF_8));
        out.flush();
    }

    private void start(Runnable work) {
        Thread thread = new Thread(work, "fake-sidecar");
        thread.setDaemon(true);
        threads.add(thread);
        thread.start();
    }

    private void accept() {
        try {
            while (true) {
                Socket socket = server.accept();
                connections.incrementAndGet();
                open.add(socket);
                start(() -> serve(socket));
            }
        } catch (IOException closed) {
            // The end of the test.
        }
    }

    private void serve(Socket socket) {
        try (socket) {
            InputStream in = socket.getInputStream();
            while (true) {
                String head = head(in);
                in.readNBytes(Integer.parseInt(header(head, "Content-Length")));
                heads.add(head);
                if (!behaviour.answer(head, socket.getOutputStream())) {
                    return;
                }
            }
        } catch (IOException | InterruptedException gone) {
            // The client hung up, or the test is over.
        } finally {
            open.remove(socket);
            threads.remove(Thread.currentThread());
        }
    }

    static String header(String head, String name) {
        return head.lines().filter(line -> line.startsWith(name + ": ")).findFirst().map(line -> line.substring(name.length() + 2)).orElse(null);
    }

    private static String head(InputStream in) throws IOException {
        ByteArrayOutputStream head = new ByteArrayOutputStream();
        while (!head.toString(StandardCharsets.ISO_8859_1).endsWith("\r\n\r\n")) {
            int next = in.read();
            if (next < 0) {
                throw new IOException("no request");
            }
            head.write(next);
        }
        return head.toString(StandardCharsets.ISO_8859_1);
    }

    @Override
    public void close() throws IOException {
        server.close();
        for (Socket socket : open) {
            socket.close();
        }
        for (Thread thread : threads) {
            thread.interrupt();
            try {
                thread.join(5000);
            } catch (InterruptedException fault) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
