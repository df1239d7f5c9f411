package dev.rescored.client;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedByInterruptException;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * One answer of HTTP/1.1, read strictly: what a sidecar would not send is refused, not guessed at.
 *
 * @param headers by their names in lower case
 * @param reusable whether the connection may serve another request
 */
record HttpResponse(int status, Map<String, String> headers, byte[] body, boolean reusable) {

    private static final int HEAD_LIMIT = 16 * 1024;

    /** The bytes are no answer that we take. */
    static final class MalformedException extends IOException {

        private static final long serialVersionUID = 1L;

        MalformedException(String what) {
            super(what);
        }
    }

    /** The connection ended before the first byte of an answer: a request on a kept connection may be sent again. */
    static final class NothingException extends IOException {

        private static final long serialVersionUID = 1L;

        NothingException(Throwable cause) {
            super("the connection ended without an answer", cause);
        }
    }

    /** Reads one answer, its body at most of so many bytes. */
    static HttpResponse read(ByteStream stream, int bodyLimit, Deadline deadline) throws IOException {
        return new Reader(stream, deadline).read(bodyLimit);
    }

    private static final class Reader {

        private final ByteStream stream;
        private final Deadline deadline;
        private final ByteBuffer buffer = ByteBuffer.allocate(8 * 1024).flip();
        private int headBytes;
        private boolean begun;

        Reader(ByteStream stream, Deadline deadline) {
            this.stream = stream;
            this.deadline = deadline;
        }

        HttpResponse read(int bodyLimit) throws IOException {
            String start = line();
            if (!start.matches("HTTP/1\\.[01] [2-5][0-9][0-9]( .*)?")) {
                throw new MalformedException("no HTTP/1.1 status line");
            }
            int status = Integer.parseInt(start.substring(9, 12));
            Map<String, String> headers = headers();
            byte[] body = body(headers, bodyLimit);
            String connection = headers.getOrDefault("connection", "").toLowerCase(Locale.ROOT);
            boolean reusable = start.startsWith("HTTP/1.1") && !connection.contains("close") && !buffer.hasRemaining();
            return new HttpResponse(status, headers, body, reusable);
        }

        private Map<String, String> headers() throws IOException {
            Map<String, String> headers = new TreeMap<>();
            for (String line = line(); !line.isEmpty(); line = line()) {
                int colon = line.indexOf(':');
                if (colon <= 0 || line.charAt(0) == ' ' || line.charAt(0) == '\t' || line.charAt(colon - 1) == ' ') {
                    throw new MalformedException("a header without a name");
                }
                String name = line.substring(0, colon).toLowerCase(Locale.ROOT);
                String former = headers.put(name, line.substring(colon + 1).strip());
                if (former != null && (name.equals("content-length") || name.equals("transfer-encoding"))) {
                    throw new MalformedException("the header " + name + " came twice");
                }
            }
            return headers;
        }

        private byte[] body(Map<String, String> headers, int limit) throws IOException {
            String length = headers.get("content-length");
            String encoding = headers.get("transfer-encoding");
            if (encoding != null) {
                if (length != null || !encoding.equalsIgnoreCase("chunked")) {
                    throw new MalformedException("a transfer encoding other than chunked, or a length beside it");
                }
                return chunked(limit);
            }
            if (length == null || !length.matches("[0-9]{1,10}")) {
                throw new MalformedException("an answer without a length");
            }
            long size = Long.parseLong(length);
            checkSize(size, limit);
            byte[] body = new byte[(int) size];
            fill(body, 0, body.length);
            return body;
        }

        private byte[] chunked(int limit) throws IOException {
            byte[] body = new byte[0];
            while (true) {
                String size = line().split(";", 2)[0].strip();
                if (!size.matches("[0-9a-fA-F]{1,7}")) {
                    throw new MalformedException("a chunk without a size");
                }
                int count = Integer.parseInt(size, 16);
                if (count == 0) {
                    headers();
                    return body;
                }
                int former = body.length;
                checkSize((long) former + count, limit);
                body = Arrays.copyOf(body, former + count);
                fill(body, former, count);
                if (!line().isEmpty()) {
                    throw new MalformedException("a chunk longer than its size");
                }
            }
        }

        private static void checkSize(long size, int limit) throws MalformedException {
            if (size > limit) {
                throw new MalformedException("an answer of " + size + " bytes, where " + limit + " are taken at most");
            }
        }

        private void fill(byte[] body, int offset, int count) throws IOException {
            int had = Math.min(count, buffer.remaining());
            buffer.get(body, offset, had);
            ByteBuffer rest = ByteBuffer.wrap(body, offset + had, count - had);
            while (rest.hasRemaining()) {
                if (stream.read(rest, deadline) < 0) {
                    throw new MalformedException("the connection ended within an answer");
                }
            }
        }

        /** A line of the head, without its end. */
        private String line() throws IOException {
            StringBuilder line = new StringBuilder();
            while (true) {
                char next = (char) (next() & 0xff);
                if (next == '\n') {
                    int end = line.length() - 1;
                    if (end < 0 || line.charAt(end) != '\r') {
                        throw new MalformedException("a line of the head without a carriage return");
                    }
                    return line.substring(0, end);
                }
                line.append(next);
            }
        }

        private byte next() throws IOException {
            if (!buffer.hasRemaining()) {
                buffer.clear().limit(0);
                receive();
            }
            if (++headBytes > HEAD_LIMIT) {
                throw new MalformedException("a head of more than " + HEAD_LIMIT + " bytes");
            }
            return buffer.get();
        }

        private void receive() throws IOException {
            buffer.clear();
            int count;
            try {
                count = stream.read(buffer, deadline);
            } catch (ByteStream.DeadlineException | InterruptedIOException | ClosedByInterruptException fault) {
                throw fault;
            } catch (IOException fault) {
                throw begun ? fault : new NothingException(fault);
            } finally {
                buffer.flip();
            }
            if (count < 0) {
                throw begun ? new MalformedException("the connection ended within an answer") : new NothingException(null);
            }
            begun = true;
        }
    }
}
