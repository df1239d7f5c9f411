package dev.rescored.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.rescored.client.RescoredException.Kind;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The client against the real program: -Drescored.bin names it, -Drescored.models the folder of its models. */
@Timeout(180)
class RealSidecarTest {

    private static final String QUERY = "how many people live in berlin";
    private static final List<String> DOCUMENTS =
            List.of("New York is a large city.", "Berlin has 3,520,031 inhabitants.", "", "\"Zürich\" \\ 東京 🦀\n\u0001");
    private static final Duration LONG = Duration.ofSeconds(30);

    @TempDir
    static Path folder;

    private static Sidecar sidecar;
    private static SSLContext trusting;

    /** One process of the real program. */
    private static final class Sidecar implements AutoCloseable {

        private final Process process;
        private final Path log;

        Sidecar(int operations, Map<String, String> settings) throws Exception {
            log = folder.resolve("sidecar-" + operations + ".log");
            ProcessBuilder builder = new ProcessBuilder(required("rescored.bin"), "serve");
            builder.environment().keySet().removeIf(name -> name.startsWith("RESCORED_"));
            builder.environment().put("RESCORED_MODEL_DIR", required("rescored.models"));
            builder.environment().put("RESCORED_OPERATIONS_LISTEN", "127.0.0.1:" + operations);
            settings.forEach((name, value) -> builder.environment().put("RESCORED_" + name, value));
            process = builder.redirectErrorStream(true).redirectOutput(log.toFile()).start();
            awaitReady(operations);
        }

        private static String required(String property) {
            String value = System.getProperty(property, "");
            assertTrue(!value.isEmpty(), "-D" + property + "=… is missing: these tests need the real program and its models");
            return value;
        }

        private void awaitReady(int port) throws Exception {
            HttpRequest probe = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/readyz")).build();
            long until = System.nanoTime() + Duration.ofSeconds(60).toNanos();
            while (true) {
                try {
                    if (HttpClient.newHttpClient().send(probe, BodyHandlers.discarding()).statusCode() == 200) {
                        return;
                    }
                } catch (IOException notYet) {
                    // It does not listen yet.
                }
                assertTrue(process.isAlive() && System.nanoTime() < until, () -> "rescored did not start:\n" + log());
                Thread.sleep(50);
            }
        }

        private String log() {
            try {
                return Files.readString(log);
            } catch (IOException fault) {
                return fault.toString();
            }
        }

        @Override
        public void close() {
            process.destroyForcibly();
            process.onExit().join();
        }
    }

    private static int tcp;

    @BeforeAll
    static void start() throws Exception {
        certificate();
        tcp = FaultsTest.freePort();
        Files.writeString(folder.resolve("keys"), "open-sesame\n");
        sidecar = new Sidecar(FaultsTest.freePort(), Map.of(
                "LISTEN", "127.0.0.1:" + tcp + ",unix:" + folder.resolve("s"), "API_KEYS_FILE", folder.resolve("keys").toString(),
                "TLS_CERT", folder.resolve("cert.pem").toString(), "TLS_KEY", folder.resolve("key.pem").toString()));
    }

    @AfterAll
    static void stop() {
        if (sidecar != null) {
            sidecar.close();
        }
    }

    /** A certificate of our own for 127.0.0.1, as files of the sidecar and as the only one that the client trusts. */
    private static void certificate() throws Exception {
        Path store = folder.resolve("store.p12");
        Process keytool = new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "keytool").toString(), "-genkeypair", "-alias", "a", "-keyalg", "RSA",
                "-dname", "CN=sidecar", "-ext", "san=ip:127.0.0.1", "-validity", "2", "-storetype", "PKCS12",
                "-keystore", store.toString(), "-storepass", "password").inheritIO().start();
        assertEquals(0, keytool.waitFor());
        KeyStore keys = KeyStore.getInstance(store.toFile(), "password".toCharArray());
        pem("cert.pem", "CERTIFICATE", keys.getCertificate("a").getEncoded());
        pem("key.pem", "PRIVATE KEY", keys.getKey("a", "password".toCharArray()).getEncoded());
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        trusted.setCertificateEntry("a", keys.getCertificate("a"));
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(trusted);
        trusting = SSLContext.getInstance("TLS");
        trusting.init(null, factory.getTrustManagers(), null);
    }

    private static void pem(String name, String what, byte[] bytes) throws IOException {
        String text = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(bytes);
        Files.writeString(folder.resolve(name), "-----BEGIN " + what + "-----\n" + text + "\n-----END " + what + "-----\n");
    }

    private static String unix() {
        return "unix:" + folder.resolve("s");
    }

    private static String https() {
        return "https://127.0.0.1:" + tcp;
    }

    private static RescoredClient.Builder client(String endpoint) {
        return RescoredClient.builder().endpoints(List.of(endpoint)).key("open-sesame").sslContext(trusting);
    }

    @Test
    void scores_are_the_same_over_a_socket_and_over_tls_and_the_second_time_from_the_cache() throws Exception {
        try (RescoredClient socket = client(unix()).build(); RescoredClient secure = client(https()).build()) {
            float[] scores = socket.scores(QUERY, DOCUMENTS, LONG);
            assertTrue(scores[1] > 0.9f && scores[0] < 0.1f, "the passage that answers is found");
            assertEquals(0f, scores[2], "no text ranks last");
            for (int n = 0; n < 5; n++) {
                assertArrayEquals(scores, secure.scores(QUERY, DOCUMENTS, LONG));
            }
            assertEquals(1, secure.stats().connectionsOpened());
            assertEquals(15, secure.stats().cachedDocuments());
        }
    }

    @Test
    void a_thousand_documents_go_over_every_transport() throws Exception {
        List<String> documents = new ArrayList<>();
        IntStream.range(0, 1000).forEach(n -> documents.add(n < 4 ? "Berlin " + n : " ".repeat(500)));
        try (RescoredClient socket = client(unix()).build(); RescoredClient secure = client(https()).build()) {
            assertArrayEquals(socket.scores(QUERY, documents, LONG), secure.scores(QUERY, documents, LONG));
        }
    }

    @Test
    void a_wrong_key_is_told() throws Exception {
        try (RescoredClient client = client(unix()).key("wrong").build()) {
            RescoredException fault = assertThrows(RescoredException.class, () -> client.scores(QUERY, DOCUMENTS, LONG));
            assertEquals(Kind.UNAUTHORIZED, fault.kind());
            client.setKey("open-sesame");
            client.scores(QUERY, DOCUMENTS, LONG);
        }
    }

    @Test
    void a_certificate_that_is_not_trusted_or_names_another_host_is_refused() throws Exception {
        for (RescoredClient.Builder one : List.of(client(https()).sslContext(SSLContext.getDefault()), client("https://localhost:" + tcp))) {
            try (RescoredClient client = one.build()) {
                RescoredException fault = assertThrows(RescoredException.class, () -> client.scores(QUERY, DOCUMENTS, LONG));
                assertEquals(Kind.UNREACHABLE, fault.kind(), fault.getMessage());
            }
        }
    }

    @Test
    void the_deadline_reaches_the_sidecar() throws Exception {
        List<String> much = IntStream.range(0, 500).mapToObj(n -> ("passage " + n + " ").repeat(100)).toList();
        try (RescoredClient client = client(unix()).build()) {
            // It gives up by itself: a client that hangs up leaves another status. On a busy machine the client may be first.
            boolean gaveUp = false;
            for (int attempt = 0; attempt < 10 && !gaveUp; attempt++) {
                RescoredException fault = assertThrows(RescoredException.class, () -> client.scores(QUERY, much, Duration.ofSeconds(1)));
                assertTrue(fault.kind() == Kind.TIMEOUT || fault.kind() == Kind.OVERLOADED || fault.kind() == Kind.CIRCUIT_OPEN, fault.getMessage());
                long until = System.nanoTime() + Duration.ofSeconds(4).toNanos();
                while (!gaveUp && System.nanoTime() < until) {
                    gaveUp = sidecar.log().contains("\"status\":504") || sidecar.log().contains("\"status\":429");
                    Thread.sleep(20);
                }
            }
            assertTrue(gaveUp, () -> "the sidecar knew of no deadline:\n" + sidecar.log());
            Thread.sleep(2500);
            client.scores(QUERY, DOCUMENTS, LONG);
        }
    }

    @Test
    void a_sidecar_that_is_killed_and_comes_back_is_used_again() throws Exception {
        int port = FaultsTest.freePort();
        Map<String, String> settings = Map.of("LISTEN", "127.0.0.1:" + port);
        try (RescoredClient client = client("http://127.0.0.1:" + port).build()) {
            float[] before;
            try (Sidecar first = new Sidecar(FaultsTest.freePort(), settings)) {
                before = client.scores(QUERY, DOCUMENTS, LONG);
            }
            for (int n = 0; n < 20; n++) {
                RescoredException fault = assertThrows(RescoredException.class, () -> client.scores(QUERY, DOCUMENTS, LONG));
                assertEquals(n < 5 ? Kind.UNREACHABLE : Kind.CIRCUIT_OPEN, fault.kind());
            }
            try (Sidecar second = new Sidecar(FaultsTest.freePort(), settings)) {
                Thread.sleep(2000);
                assertArrayEquals(before, client.scores(QUERY, DOCUMENTS, LONG));
            }
        }
    }
}
