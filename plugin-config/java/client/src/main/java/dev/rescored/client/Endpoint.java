package dev.rescored.client;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.UnixDomainSocketAddress;
import java.net.UnknownHostException;

/**
 * One address of a sidecar.
 *
 * @param host what {@code Host} names; for TLS also the name that the certificate must have
 * @param port of TCP; 0 for a UNIX socket
 * @param socketPath of a UNIX socket; null for TCP
 * @param prefix path before {@code /v1/rerank}, without a slash at its end; empty in most cases
 */
record Endpoint(String host, int port, boolean tls, String socketPath, String prefix) {

    private static final String FORMS = "expected http://host:port, https://host:port or unix:/path";

    /**
     * Reads {@code http://host:port}, {@code https://host:port} or {@code unix:/path}.
     *
     * @throws IllegalArgumentException when it is none of these
     */
    static Endpoint parse(String text) {
        if (text.startsWith("unix:")) {
            return unix(text);
        }
        URI uri;
        try {
            uri = new URI(text);
        } catch (URISyntaxException fault) {
            throw new IllegalArgumentException("endpoint [" + text + "]: " + FORMS, fault);
        }
        boolean tls = "https".equals(uri.getScheme());
        boolean http = tls || "http".equals(uri.getScheme());
        if (!http || uri.getHost() == null || uri.getUserInfo() != null || uri.getQuery() != null || uri.getFragment() != null) {
            throw new IllegalArgumentException("endpoint [" + text + "]: " + FORMS);
        }
        int port = uri.getPort() >= 0 ? uri.getPort() : tls ? 443 : 80;
        String path = uri.getRawPath() == null ? "" : uri.getRawPath();
        return new Endpoint(uri.getHost(), port, tls, null, path.replaceAll("/+$", ""));
    }

    private static Endpoint unix(String text) {
        String path = text.substring("unix:".length());
        if (!path.startsWith("/") || path.startsWith("//")) {
            throw new IllegalArgumentException("endpoint [" + text + "]: " + FORMS);
        }
        return new Endpoint("localhost", 0, false, path, "");
    }

    /** Resolved at every call: an address may move while connections last. */
    SocketAddress resolve() throws IOException {
        if (socketPath != null) {
            return UnixDomainSocketAddress.of(socketPath);
        }
        // A literal IPv6 address comes with its brackets from the URI.
        String name = host.startsWith("[") ? host.substring(1, host.length() - 1) : host;
        InetSocketAddress address = new InetSocketAddress(name, port);
        if (address.isUnresolved()) {
            throw new UnknownHostException(host);
        }
        return address;
    }

    /** The value of {@code Host}. */
    String authority() {
        boolean usual = socketPath != null || port == (tls ? 443 : 80);
        return usual ? host : host + ":" + port;
    }

    @Override
    public String toString() {
        return socketPath != null ? "unix:" + socketPath : (tls ? "https://" : "http://") + host + ":" + port + prefix;
    }
}
