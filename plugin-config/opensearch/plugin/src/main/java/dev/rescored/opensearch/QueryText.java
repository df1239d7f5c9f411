package dev.rescored.opensearch;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Finds what a person asked for in a query of OpenSearch's DSL, by its public JSON form: the first text of the first
 * query that has one. What filters or excludes is not looked at. Pure.
 */
final class QueryText {

    /** {@code {"match": {"body": {"query": text}}}}, or short {@code {"match": {"body": text}}}. */
    private static final Set<String> FIELD_QUERIES =
            Set.of("match", "match_phrase", "match_phrase_prefix", "match_bool_prefix");
    /** {@code {"multi_match": {"query": text}}}. */
    private static final Set<String> TEXT_QUERIES =
            Set.of("multi_match", "combined_fields", "query_string", "simple_query_string");
    /** {@code {"neural": {"embedding": {"query_text": text}}}}. */
    private static final Set<String> NEURAL_QUERIES = Set.of("neural", "neural_sparse");
    /** Where queries hold others. */
    private static final Map<String, List<String>> COMPOUND = Map.of(
            "hybrid", List.of("queries"), "dis_max", List.of("queries"), "bool", List.of("must", "should"),
            "function_score", List.of("query"), "script_score", List.of("query"), "nested", List.of("query"),
            "boosting", List.of("positive"), "constant_score", List.of("filter"));

    private QueryText() {}

    static Optional<String> of(Object query) {
        if (query instanceof Collection<?> several) {
            return several.stream().map(QueryText::of).flatMap(Optional::stream).findFirst();
        }
        if (query instanceof Map<?, ?> named) {
            return named.entrySet().stream().map(entry -> of(String.valueOf(entry.getKey()), entry.getValue())).flatMap(Optional::stream).findFirst();
        }
        return Optional.empty();
    }

    private static Optional<String> of(String name, Object body) {
        if (!(body instanceof Map<?, ?> members)) {
            return Optional.empty();
        }
        if (FIELD_QUERIES.contains(name)) {
            return ofField(members, "query");
        }
        if (NEURAL_QUERIES.contains(name)) {
            return ofField(members, "query_text");
        }
        if (TEXT_QUERIES.contains(name)) {
            return text(members.get("query"));
        }
        return COMPOUND.getOrDefault(name, List.of()).stream().map(part -> of((Object) members.get(part))).flatMap(Optional::stream).findFirst();
    }

    private static Optional<String> ofField(Map<?, ?> fields, String key) {
        return fields.values().stream()
                .map(value -> value instanceof Map<?, ?> options ? text(options.get(key)) : text(value))
                .flatMap(Optional::stream).findFirst();
    }

    private static Optional<String> text(Object value) {
        boolean isText = value instanceof String || value instanceof Number;
        return isText ? Optional.of(value.toString()).filter(text -> !text.isBlank()) : Optional.empty();
    }
}
