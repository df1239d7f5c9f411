package dev.rescored.common;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.rescored.client.RescoredClient;
import dev.rescored.client.RescoredException;
import dev.rescored.common.RerankOptions.OnFailure;
import dev.rescored.common.Sidecar.Caller;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Against no sidecar; the tests of engines have a real one. */
class RescoredWindowTest {

    private static Sidecar dead(OnFailure onFailure) throws IOException {
        try (ServerSocket closed = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            String endpoint = "http://127.0.0.1:" + closed.getLocalPort();
            return new Sidecar(() -> RescoredClient.builder().endpoints(List.of(endpoint)).build(), Duration.ofSeconds(1), onFailure, Caller.RESCORER);
        }
    }

    private static RerankOptions options(Object... members) {
        Map<String, Object> json = new HashMap<>(Map.of("fields", List.of("body"), "query_text", "q"));
        for (int n = 0; n < members.length; n += 2) {
            json.put((String) members[n], members[n + 1]);
        }
        return RerankOptions.ofRescorer(json);
    }

    @Test
    void without_scores_the_order_is_kept_below_that_of_other_shards_and_said() throws Exception {
        try (Sidecar sidecar = dead(OnFailure.KEEP)) {
            RescoredWindow window = RescoredWindow.of(sidecar, options(), new float[] {3f, 1f, 0f}, List.of("a", "b"), "_source");
            assertArrayEquals(new float[] {-0.25f, -0.5f, -1f}, window.scores());
            assertEquals(0, window.reranked());
            assertTrue(window.warning().contains("[rescored.on_failure] is [keep]"), window.warning());
            assertEquals(1L, sidecar.stats().get("rescorer_kept"));
            assertEquals(1L, sidecar.stats().get("failed_unreachable"));
        }
    }

    @Test
    void a_search_fails_where_it_or_the_node_says_so() throws Exception {
        try (Sidecar failing = dead(OnFailure.FAIL); Sidecar keeping = dead(OnFailure.KEEP)) {
            assertThrows(RescoredException.class, () -> RescoredWindow.of(failing, options(), new float[] {3f}, List.of("a"), "_source"));
            assertThrows(RescoredException.class, () -> RescoredWindow.of(keeping, options("on_failure", "fail"), new float[] {3f}, List.of("a"), "_source"));
            assertEquals(0, RescoredWindow.of(failing, options("on_failure", "keep"), new float[] {3f}, List.of("a"), "_source").reranked());
            assertEquals(1L, failing.stats().get("rescorer_failed"));
        }
    }
}
