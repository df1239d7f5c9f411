package dev.rescored.common;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PassageTemplateTest {

    private static final Map<String, List<Object>> DOCUMENT = Map.of(
            "title", List.of("Berlin"), "body", List.of("3,520,031", "people"), "author.name", List.of(List.of("Ann", "Bob")),
            "year", List.of(2015, true), "object", List.of(Map.of("inner", "text")), "blank", List.of(" "));

    private static String text(PassageTemplate template) {
        return template.text(path -> DOCUMENT.getOrDefault(path, List.of()));
    }

    @Test
    void templates_put_fields_into_text() {
        assertEquals("Berlin. 3,520,031 people", text(PassageTemplate.parse("{title}. {body}")));
        assertEquals("by Ann Bob in 2015 true!", text(PassageTemplate.parse("by {author.name} in {year}!")));
        assertEquals(List.of("title", "body"), PassageTemplate.parse("{title}. {body}").fields());
        assertEquals(". 3,520,031 people", text(PassageTemplate.parse("{absent}. {body}")));
    }

    @Test
    void fields_are_joined_by_blanks() {
        assertEquals("Berlin 3,520,031 people text", text(PassageTemplate.ofFields(List.of("title", "absent", "body", "object"))));
    }

    @Test
    void without_text_in_any_field_there_is_none() {
        assertEquals("", text(PassageTemplate.parse("Title: {absent}, {blank}.")));
        assertEquals("", text(PassageTemplate.ofFields(List.of("absent"))));
    }

    @Test
    void texts_are_bounded() {
        String text = PassageTemplate.ofFields(List.of("a")).text(path -> List.of("x".repeat(3_000_000), "y"));
        assertEquals(PassageTemplate.LONGEST, text.length());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "no field", "{}", "{ }", "{title", "title}", "{title} }", "{a.*}", "{.a}", "{a.}"})
    void templates_that_cannot_be_meant_are_refused(String template) {
        assertThrows(IllegalArgumentException.class, () -> PassageTemplate.parse(template));
    }

    @Test
    void an_empty_list_of_fields_is_refused() {
        assertThrows(IllegalArgumentException.class, () -> PassageTemplate.ofFields(List.of()));
    }
}
