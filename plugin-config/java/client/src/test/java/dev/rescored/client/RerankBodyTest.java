package dev.rescored.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.rescored.client.JsonReader.JsonException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Bodies as they are written, and answers as they are read: strictly. */
class RerankBodyTest {

    private static final String GOOD =
            "{\"id\":\"x\",\"results\":[{\"index\":1,\"relevance_score\":0.25},{\"relevance_score\":1.0e-3,\"index\":0,\"document\":null}],\"usage\":{\"a\":[1,2,{}]}}";

    private static float[] read(String body) throws JsonException {
        return RerankBody.scores(body.getBytes(StandardCharsets.UTF_8), 2);
    }

    @Test
    void scores_come_in_the_order_of_the_documents() throws JsonException {
        assertArrayEquals(new float[] {0.001f, 0.25f}, read(GOOD));
        assertArrayEquals(new float[] {0.001f, 0.25f}, read(" \r\n" + GOOD + "\t"));
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "", "{", "[]", "null", "<html></html>", "{}", "{\"results\":null}", "{\"results\":{}}", "{\"results\":[]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":0,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":2,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":-1,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1.0,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":\"1\",\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":01,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":4294967297,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"index\":1,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1,\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"relevance_score\":1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":NaN}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":null}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":\"1\"}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1e999}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":.5}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1.}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":+1}]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1},]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1}]}x",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1}],\"results\":[]}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1}],\"a\":\"\\x\"}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1}],\"a\":\"\\u12g4\"}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1}],\"a\":\"\n\"}",
        "{\"results\":[{\"index\":0,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1},{\"index\":1,\"relevance_score\":1}]}",
    })
    void what_is_no_ranking_of_two_documents_is_refused(String body) {
        assertThrows(JsonException.class, () -> read(body));
    }

    @Test
    void every_beginning_of_an_answer_is_refused() {
        for (int end = 0; end < GOOD.length(); end++) {
            String part = GOOD.substring(0, end);
            assertThrows(JsonException.class, () -> read(part), part);
        }
    }

    @Test
    void depth_is_bounded_and_bytes_must_be_utf8() {
        String deep = "{\"results\":" + "[".repeat(100_000);
        assertThrows(JsonException.class, () -> read(deep));
        byte[] bytes = GOOD.getBytes(StandardCharsets.ISO_8859_1);
        bytes[8] = (byte) 0xff;
        assertThrows(JsonException.class, () -> RerankBody.scores(bytes, 2));
    }

    @Test
    void changed_bytes_never_throw_anything_else() {
        Random random = new Random(11);
        for (int n = 0; n < 20_000; n++) {
            byte[] bytes = GOOD.getBytes(StandardCharsets.UTF_8);
            for (int change = 0; change <= random.nextInt(3); change++) {
                bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(128);
            }
            try {
                for (float score : RerankBody.scores(bytes, 2)) {
                    assertEquals(true, Float.isFinite(score));
                }
            } catch (JsonException refused) {
                // What this test allows.
            }
        }
    }

    @Test
    void texts_are_written_as_json_whatever_is_in_them() {
        String text = "a\"b\\c\n\u0001\u007f é 東 🦀";
        byte[] body = RerankBody.request("m", text, List.of("\ud83d", "x\udc00y", ""));
        assertEquals(
                "{\"model\":\"m\",\"query\":\"a\\\"b\\\\c\\u000a\\u0001\u007f é 東 🦀\",\"documents\":[\"\ufffd\",\"x\ufffdy\",\"\"]}",
                new String(body, StandardCharsets.UTF_8));
        assertEquals("{\"query\":\"\",\"documents\":[\"a\"]}", new String(RerankBody.request("", "", List.of("a")), StandardCharsets.UTF_8));
    }
}
