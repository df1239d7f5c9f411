package dev.rescored.common;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.rescored.common.RerankOptions.OnFailure;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class RerankOptionsTest {

    private static Map<String, Object> json(Object... members) {
        Map<String, Object> json = new HashMap<>(Map.of("fields", List.of("body")));
        for (int n = 0; n < members.length; n += 2) {
            json.put((String) members[n], members[n + 1]);
        }
        json.values().removeIf(""::equals);
        return json;
    }

    private static void assertRefused(String part, Map<String, Object> json) {
        IllegalArgumentException fault = assertThrows(IllegalArgumentException.class, () -> RerankOptions.ofProcessor(json));
        assertTrue(fault.getMessage().contains(part), fault.getMessage());
    }

    @Test
    void what_is_left_out_has_defaults() {
        RerankOptions options = RerankOptions.ofProcessor(json());
        assertEquals(1f, options.weight());
        assertEquals(100, options.depth());
        assertNull(options.timeout());
        assertNull(options.onFailure());
        options = RerankOptions.ofProcessor(json("weight", 0.5, "depth", 20, "timeout", "300ms", "on_failure", "fail"));
        assertEquals(0.5f, options.weight());
        assertEquals(20, options.depth());
        assertEquals(Duration.ofMillis(300), options.timeout());
        assertEquals(OnFailure.FAIL, options.onFailure());
        assertEquals(Duration.ofSeconds(2), RerankOptions.ofProcessor(json("timeout", "2s")).timeout());
        assertEquals(Duration.ofMinutes(1), RerankOptions.ofProcessor(json("timeout", "1m")).timeout());
    }

    @Test
    void what_cannot_be_meant_is_refused_by_its_name_value_and_what_may_be() {
        assertRefused("[weight] is [1.5]; it must be a number from 0 to 1", json("weight", 1.5));
        assertRefused("[weight] is [x]", json("weight", "x"));
        assertRefused("[depth] is [0]; it must be a whole number from 1 to 10000", json("depth", 0));
        assertRefused("[depth] is [10001]", json("depth", 10_001));
        for (String timeout : new String[] {"0ms", "0s", "300", "1.5s", "-1ms", "1 s", "1000000000s", "1d"}) {
            assertRefused("[timeout] is [" + timeout + "]; it must be 1ms at least", json("timeout", timeout));
        }
        assertRefused("[on_failure] is [ignore]; it may be [keep]", json("on_failure", "ignore"));
        assertRefused("give either [fields]", json("template", "{a}"));
        assertRefused("give either [fields]", json("fields", ""));
        assertRefused("[fields] has [3]", json("fields", List.of(3)));
        assertRefused("unknown [dept]; known are", json("dept", 3));
        assertRefused("[query_text] belongs to a search", json("query_text", "a"));
    }

    @Test
    void a_rescorer_wants_its_text() {
        assertEquals("a", RerankOptions.ofRescorer(json("query_text", "a")).queryText());
        assertThrows(IllegalArgumentException.class, () -> RerankOptions.ofRescorer(json()));
        assertThrows(IllegalArgumentException.class, () -> RerankOptions.ofRescorer(json("query_text", "a", "depth", 3)));
    }
}
