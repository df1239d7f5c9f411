package dev.rescored.common;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What a rescorer or a pipeline says, read strictly from its JSON object.
 *
 * @param template how a document's text is made
 * @param queryText given, or null
 * @param weight of the sidecar's score, from 0 to 1; the engine's has the rest
 * @param depth hits that a pipeline reranks
 * @param timeout or null for the node's {@code rescored.timeout}
 * @param onFailure or null for the node's {@code rescored.on_failure}
 */
public record RerankOptions(PassageTemplate template, String queryText, float weight, int depth, Duration timeout, OnFailure onFailure) {

    /** Hits that a pipeline reranks where it does not say. */
    public static final int DEFAULT_DEPTH = 100;
    /** What a pipeline may ask for. */
    public static final int MAX_DEPTH = 10_000;

    private static final Pattern TIMEOUT = Pattern.compile("0*([1-9][0-9]{0,8})(ms|s|m)");

    /** What a search does when there are no scores. */
    public enum OnFailure {
        /** The engine's order, with a warning. */
        KEEP,
        /** The search fails. */
        FAIL;

        /** Reads {@code keep} or {@code fail}; anything else is an {@link IllegalArgumentException}. */
        public static OnFailure parse(String text) {
            return switch (text) {
                case "keep" -> KEEP;
                case "fail" -> FAIL;
                default -> throw new IllegalArgumentException("[on_failure] is [" + text + "]; it may be [keep] (the engine's order, with a warning) or [fail]");
            };
        }
    }

    /** Reads the object of a rescorer. */
    public static RerankOptions ofRescorer(Map<String, Object> json) {
        Reader reader = new Reader(json);
        RerankOptions options = reader.options(DEFAULT_DEPTH);
        if (options.queryText == null || options.queryText.isBlank()) {
            throw new IllegalArgumentException("[query_text] is missing in the rescorer [rescored]: a rescorer does not see the query; only a search pipeline takes the text from it");
        }
        reader.end();
        return options;
    }

    /** Reads the configuration of a request processor, and removes what it read, as the pipeline's parser wants it. */
    public static RerankOptions ofProcessor(Map<String, Object> json) {
        Reader reader = new Reader(json);
        int depth = reader.depth();
        RerankOptions options = reader.options(depth);
        if (options.queryText != null) {
            throw new IllegalArgumentException("[query_text] belongs to a search, as ext.rescored.query_text, not to the pipeline");
        }
        reader.end();
        return options;
    }

    /** Members taken one by one; what is left at the end is unknown. */
    private record Reader(Map<String, Object> json) {

        RerankOptions options(int depth) {
            PassageTemplate template = template();
            String queryText = string("query_text");
            String timeout = string("timeout");
            String onFailure = string("on_failure");
            return new RerankOptions(
                    template, queryText, weight(), depth, timeout == null ? null : timeout(timeout),
                    onFailure == null ? null : OnFailure.parse(onFailure));
        }

        private PassageTemplate template() {
            Object fields = json.remove("fields");
            String template = string("template");
            if ((fields == null) == (template == null)) {
                throw new IllegalArgumentException("give either [fields], as in [\"title\", \"body\"], or [template], as in \"{title}. {body}\"");
            }
            return template != null ? PassageTemplate.parse(template) : PassageTemplate.ofFields(names(fields));
        }

        private static List<String> names(Object fields) {
            Collection<?> items = fields instanceof Collection<?> several ? several : List.of(fields);
            return items.stream().map(item -> {
                if (item instanceof String name) {
                    return name;
                }
                throw new IllegalArgumentException("[fields] has [" + item + "]; each must be a field's name");
            }).toList();
        }

        private float weight() {
            Object weight = json.remove("weight");
            float value = weight == null ? 1f : weight instanceof Number number ? number.floatValue() : Float.NaN;
            if (!(value >= 0 && value <= 1)) {
                throw new IllegalArgumentException("[weight] is [" + weight + "]; it must be a number from 0 to 1: score = weight * rescored + (1 - weight) * engine");
            }
            return value;
        }

        int depth() {
            Object depth = json.remove("depth");
            if (depth == null) {
                return DEFAULT_DEPTH;
            }
            if (!(depth instanceof Integer number) || number < 1 || number > MAX_DEPTH) {
                throw new IllegalArgumentException("[depth] is [" + depth + "]; it must be a whole number from 1 to " + MAX_DEPTH);
            }
            return number;
        }

        private static Duration timeout(String text) {
            Matcher matcher = TIMEOUT.matcher(text);
            if (!matcher.matches()) {
                throw new IllegalArgumentException("[timeout] is [" + text + "]; it must be 1ms at least, as in [300ms], [2s] or [1m]");
            }
            long count = Long.parseLong(matcher.group(1));
            return switch (matcher.group(2)) {
                case "ms" -> Duration.ofMillis(count);
                case "s" -> Duration.ofSeconds(count);
                default -> Duration.ofMinutes(count);
            };
        }

        private String string(String name) {
            Object value = json.remove(name);
            if (value != null && !(value instanceof String)) {
                throw new IllegalArgumentException("[" + name + "] is [" + value + "]; it must be a string");
            }
            return (String) value;
        }

        void end() {
            if (!json.isEmpty()) {
                throw new IllegalArgumentException("unknown " + new HashMap<>(json).keySet() + "; known are fields, template, weight, timeout, on_failure, and query_text (rescorer) or depth (pipeline)");
            }
        }
    }
}
