package dev.rescored.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.rescored.client.HttpResponse.MalformedException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Answers of HTTP, read byte by byte and in one piece. */
class HttpResponseTest {

    private static final int LIMIT = 100;

    /** Gives a text's bytes, so many at a time. */
    private record Bytes(ByteBuffer left, int step) implements ByteStream {

        @Override
        public int read(ByteBuffer into, Deadline deadline) {
            if (!left.hasRemaining()) {
                return -1;
            }
            int count = Math.min(step, Math.min(into.remaining(), left.remaining()));
            for (int n = 0; n < count; n++) {
                into.put(left.get());
            }
            return count;
        }

        @Override
        public void write(ByteBuffer from, Deadline deadline) {}

        @Override
        public boolean isQuiet() {
            return true;
        }

        @Override
        public void close() {}
    }

    private static HttpResponse read(String text, int step) throws IOException {
        ByteBuffer bytes = ByteBuffer.wrap(text.getBytes(StandardCharsets.ISO_8859_1));
        return HttpResponse.read(new Bytes(bytes, step), LIMIT, Deadline.after(Duration.ofSeconds(1)));
    }

    private static void assertBody(String wanted, String answer) throws IOException {
        for (int step : new int[] {1, 3, 10_000}) {
            assertEquals(wanted, new String(read(answer, step).body(), StandardCharsets.ISO_8859_1));
        }
    }

    @Test
    void bodies_have_a_length_or_come_in_chunks() throws IOException {
        assertBody("abc", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        assertBody("", "HTTP/1.1 429\r\ncontent-length:0\r\n\r\n");
        assertBody("abcdefghijk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;x=y\r\na\r\nA\r\nbcdefghijk\r\n0\r\nTrailer: x\r\n\r\n");
    }

    @Test
    void a_connection_is_used_again_only_where_both_ends_agree() throws IOException {
        assertTrue(read("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", 1).reusable());
        assertFalse(read("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", 1).reusable());
        assertFalse(read("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 1).reusable());
        assertFalse(read("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", 100).reusable());
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "garbage\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nabc", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\n: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    })
    void what_is_no_answer_is_refused(String text) {
        assertThrows(MalformedException.class, () -> read(text, 1), text);
        assertThrows(MalformedException.class, () -> read(text, 10_000), text);
    }

    @Test
    void heads_without_an_end_are_refused() {
        assertThrows(MalformedException.class, () -> read("HTTP/1.1 200 OK\r\n" + "a: b\r\n".repeat(10_000), 10_000));
        assertThrows(MalformedException.class, () -> read("x".repeat(100_000), 10_000));
    }

    @Test
    void an_end_before_the_first_byte_is_no_answer_at_all() {
        assertThrows(HttpResponse.NothingException.class, () -> read("", 1));
    }
}
