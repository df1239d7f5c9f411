package dev.rescored.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class EndpointTest {

    @Test
    void addresses_are_read() {
        assertEquals(new Endpoint("rerank.local", 80, false, null, ""), Endpoint.parse("http://rerank.local/"));
        assertEquals(new Endpoint("rerank.local", 443, true, null, "/a/b"), Endpoint.parse("https://rerank.local/a/b/"));
        assertEquals(new Endpoint("[::1]", 8787, false, null, ""), Endpoint.parse("http://[::1]:8787"));
        assertEquals(new Endpoint("localhost", 0, false, "/run/rescored.sock", ""), Endpoint.parse("unix:/run/rescored.sock"));
        assertEquals("[::1]:8787", Endpoint.parse("http://[::1]:8787").authority());
        assertEquals("rerank.local", Endpoint.parse("https://rerank.local").authority());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "localhost:8787", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://a/?q", "http://a/#f", "unix:", "unix:rel", "unix:///x", "http://a b"})
    void anything_else_is_refused_by_what_it_says(String text) {
        IllegalArgumentException fault = assertThrows(IllegalArgumentException.class, () -> Endpoint.parse(text));
        assertEquals("endpoint [" + text + "]: expected http://host:port, https://host:port or unix:/path", fault.getMessage());
    }
}
