package dev.rescored.common;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Makes one text of a document's fields: {@code "{title}. {body}"}, or a list of fields joined by blanks. Pure.
 *
 * <p>A field is a dotted path into what the engine keeps of a document ({@code _source}, or stored fields). Values of arrays and objects are joined by blanks; numbers and
 * booleans are spelled as JSON spells them. A document without text in any of the fields has the empty text, whatever
 * stands between the fields.
 */
public final class PassageTemplate {

    /** The sidecar takes 4 MiB a text, and no model reads as much. */
    public static final int LONGEST = 1_000_000;

    private static final Pattern FIELD = Pattern.compile("\\{([^{}]*)\\}");

    // One literal more than fields: before, between and after them.
    private final List<String> literals = new ArrayList<>();
    private final List<String> fields = new ArrayList<>();

    private PassageTemplate() {}

    /**
     * Reads {@code "{title}. {body}"}.
     *
     * @throws IllegalArgumentException when it names no field
     */
    public static PassageTemplate parse(String text) {
        PassageTemplate template = new PassageTemplate();
        Matcher matcher = FIELD.matcher(text);
        int end = 0;
        while (matcher.find()) {
            template.literals.add(text.substring(end, matcher.start()));
            template.addField(matcher.group(1));
            end = matcher.end();
        }
        template.literals.add(text.substring(end));
        if (template.fields.isEmpty() || template.literals.stream().anyMatch(literal -> literal.contains("{") || literal.contains("}"))) {
            throw new IllegalArgumentException("[template] is [" + text + "]; name fields in braces, as in \"{title}. {body}\"");
        }
        return template;
    }

    /** The fields one after the other, blanks between those that have text. */
    public static PassageTemplate ofFields(List<String> fields) {
        if (fields.isEmpty()) {
            throw new IllegalArgumentException("[fields] is empty; name the fields that hold the text");
        }
        PassageTemplate template = new PassageTemplate();
        fields.forEach(template::addField);
        return template;
    }

    private void addField(String field) {
        if (field.isBlank() || field.startsWith(".") || field.endsWith(".") || field.contains("*")) {
            throw new IllegalArgumentException("the field [" + field + "] is no path; write it out, as in [title] or [author.name]");
        }
        fields.add(field);
    }

    /** The paths, in the order in which the text has them. */
    public List<String> fields() {
        return List.copyOf(fields);
    }

    /** The text; {@code values} gives what a document has at a path, which may be nothing. */
    public String text(Function<String, List<Object>> values) {
        List<String> parts = fields.stream().map(field -> part(values.apply(field))).toList();
        if (parts.stream().allMatch(String::isBlank)) {
            return "";
        }
        StringBuilder text = new StringBuilder();
        if (literals.isEmpty()) {
            text.append(String.join(" ", parts.stream().filter(part -> !part.isEmpty()).toList()));
        } else {
            for (int n = 0; n < parts.size(); n++) {
                text.append(literals.get(n)).append(parts.get(n));
            }
            text.append(literals.get(parts.size()));
        }
        return text.length() > LONGEST ? text.substring(0, LONGEST) : text.toString();
    }

    private static String part(List<Object> values) {
        StringBuilder text = new StringBuilder();
        append(text, values);
        return text.toString();
    }

    private static void append(StringBuilder text, Object value) {
        if (value instanceof Collection<?> items) {
            items.forEach(item -> append(text, item));
        } else if (value instanceof Map<?, ?> members) {
            members.values().forEach(member -> append(text, member));
        } else if (value != null && text.length() <= LONGEST) {
            text.append(text.length() == 0 ? "" : " ").append(value);
        }
    }
}
