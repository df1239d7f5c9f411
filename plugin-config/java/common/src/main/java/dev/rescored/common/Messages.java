package dev.rescored.common;

import java.util.List;

/** What a search says when it was not reranked. Never holds text of a query or a document. */
public final class Messages {

    private Messages() {}

    /** The engine's order stands. */
    public static String kept(String why) {
        return "[rescored] the engine's order was kept: " + why + "; [rescored.on_failure] is [keep]";
    }

    /** The search fails. */
    public static String failed(String why) {
        return "[rescored] " + why + "; [rescored.on_failure] is [fail]";
    }

    /** It was reranked, by empty texts. */
    public static String noText(List<String> fields, String where) {
        return "[rescored] no hit has text in " + fields + " of " + where + ": check [fields] or [template]";
    }
}
