package dev.rescored.client;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * A strict reader of JSON (RFC 8259) that pulls one value at a time: the grammar and nothing beside it, well-formed
 * UTF-8, a bounded depth.
 */
final class JsonReader {

    /** The text is no JSON, or not the JSON that is wanted. */
    static final class JsonException extends Exception {

        private static final long serialVersionUID = 1L;

        JsonException(String what) {
            super(what);
        }
    }

    private static final int DEPTH = 32;

    private final String text;
    private int at;
    private int depth;

    JsonReader(byte[] body) throws JsonException {
        try {
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body)).toString();
        } catch (CharacterCodingException fault) {
            throw new JsonException("bytes that are no UTF-8");
        }
    }

    /** What is done with each member of an object or each item of an array. */
    interface Action {
        void run() throws JsonException;
    }

    /** What is done with each member of an object; it reads the value. */
    interface Member {
        void read(String name) throws JsonException;
    }

    /** Reads an object, and has each of its values read. */
    void object(Member member) throws JsonException {
        enclosed('{', '}', () -> {
            String name = string();
            skipSpace();
            expect(':');
            skipSpace();
            member.read(name);
        });
    }

    /** Reads an array, and has each of its items read. */
    void array(Action item) throws JsonException {
        enclosed('[', ']', item);
    }

    private void enclosed(char open, char close, Action item) throws JsonException {
        expect(open);
        if (++depth > DEPTH) {
            throw new JsonException("values more than " + DEPTH + " deep");
        }
        skipSpace();
        if (peek() == close) {
            at++;
        } else {
            item(item);
            while (peek() == ',') {
                at++;
                item(item);
            }
            expect(close);
        }
        depth--;
    }

    private void item(Action item) throws JsonException {
        skipSpace();
        item.run();
        skipSpace();
    }

    /** Reads any value and forgets it. */
    void skip() throws JsonException {
        switch (peek()) {
            case '{' -> object(name -> skip());
            case '[' -> array(this::skip);
            case '"' -> string();
            case 't' -> word("true");
            case 'f' -> word("false");
            case 'n' -> word("null");
            default -> number();
        }
    }

    /** Reads a number as it is spelled. */
    String number() throws JsonException {
        int start = at;
        accept('-');
        if (!accept('0')) {
            digits();
        }
        if (accept('.')) {
            digits();
        }
        if (accept('e') || accept('E')) {
            if (!accept('+')) {
                accept('-');
            }
            digits();
        }
        return text.substring(start, at);
    }

    /** Nothing but white space may be left. */
    void end() throws JsonException {
        skipSpace();
        if (at != text.length()) {
            throw wrong("the end");
        }
    }

    /** Goes to the next value. */
    void skipSpace() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    String string() throws JsonException {
        expect('"');
        StringBuilder value = new StringBuilder();
        while (true) {
            char next = take();
            if (next == '"') {
                return value.toString();
            }
            if (next < ' ') {
                throw new JsonException("a control character in a string, at " + (at - 1));
            }
            value.append(next == '\\' ? escaped() : next);
        }
    }

    private char escaped() throws JsonException {
        char next = take();
        return switch (next) {
            case '"', '\\', '/' -> next;
            case 'b' -> '\b';
            case 'f' -> '\f';
            case 'n' -> '\n';
            case 'r' -> '\r';
            case 't' -> '\t';
            case 'u' -> unicode();
            default -> throw new JsonException("an unknown escape, at " + (at - 1));
        };
    }

    private char unicode() throws JsonException {
        int value = 0;
        for (int n = 0; n < 4; n++) {
            int digit = Character.digit(take(), 16);
            if (digit < 0) {
                throw new JsonException("an escape without four digits, at " + (at - 1));
            }
            value = value << 4 | digit;
        }
        return (char) value;
    }

    private void digits() throws JsonException {
        int start = at;
        while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
            at++;
        }
        if (at == start) {
            throw wrong("a digit");
        }
    }

    private void word(String word) throws JsonException {
        if (!text.startsWith(word, at)) {
            throw wrong("a value");
        }
        at += word.length();
    }

    private boolean accept(char wanted) {
        boolean there = at < text.length() && text.charAt(at) == wanted;
        at += there ? 1 : 0;
        return there;
    }

    private void expect(char wanted) throws JsonException {
        if (!accept(wanted)) {
            throw wrong("'" + wanted + "'");
        }
    }

    private char peek() throws JsonException {
        if (at >= text.length()) {
            throw wrong("a value");
        }
        return text.charAt(at);
    }

    private char take() throws JsonException {
        char next = peek();
        at++;
        return next;
    }

    private JsonException wrong(String wanted) {
        return new JsonException("expected " + wanted + " at " + at + " of " + text.length());
    }
}
