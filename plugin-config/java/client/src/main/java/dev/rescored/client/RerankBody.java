package dev.rescored.client;

import dev.rescored.client.JsonReader.JsonException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;

/** The two bodies of {@code POST /v1/rerank}: {@code {query, documents}} and {@code {results: [{index, relevance_score}]}}. */
final class RerankBody {

    // An item has about 60 bytes; the rest of an answer about 500.
    private static final int BYTES_OF_ITEM = 256;
    private static final int BYTES_BESIDE = 64 * 1024;

    private RerankBody() {}

    static byte[] request(String model, String query, List<String> documents) {
        long chars = documents.stream().mapToLong(String::length).sum();
        StringBuilder json = new StringBuilder((int) Math.min(1 << 26, chars + chars / 16 + query.length() + 128));
        json.append('{');
        if (!model.isEmpty()) {
            json.append("\"model\":");
            string(json, model);
            json.append(',');
        }
        json.append("\"query\":");
        string(json, query);
        json.append(",\"documents\":[");
        for (int n = 0; n < documents.size(); n++) {
            json.append(n == 0 ? "" : ",");
            string(json, documents.get(n));
        }
        return json.append("]}").toString().getBytes(StandardCharsets.UTF_8);
    }

    private static void string(StringBuilder json, String text) {
        json.append('"');
        for (int n = 0; n < text.length(); n++) {
            char next = text.charAt(n);
            if (next == '"' || next == '\\') {
                json.append('\\').append(next);
            } else if (next < ' ') {
                json.append(String.format("\\u%04x", (int) next));
            } else if (Character.isSurrogate(next) && !isPaired(text, n)) {
                json.append('\ufffd');
            } else {
                json.append(next);
            }
        }
        json.append('"');
    }

    private static boolean isPaired(String text, int n) {
        if (Character.isHighSurrogate(text.charAt(n))) {
            return n + 1 < text.length() && Character.isLowSurrogate(text.charAt(n + 1));
        }
        return n > 0 && Character.isHighSurrogate(text.charAt(n - 1));
    }

    /** How large an answer with so many scores may be. */
    static int answerLimit(int documents) {
        return (int) Math.min(Integer.MAX_VALUE - 8L, BYTES_BESIDE + (long) BYTES_OF_ITEM * documents);
    }

    /**
     * The scores in the order of the documents.
     *
     * @throws JsonException unless each document has exactly one finite score
     */
    static float[] scores(byte[] body, int documents) throws JsonException {
        return new Answer(body, documents).read();
    }

    private static final class Answer {

        private final JsonReader json;
        private final float[] scores;
        private int items;
        private boolean seen;
        private int index;
        private float score;

        Answer(byte[] body, int documents) throws JsonException {
            json = new JsonReader(body);
            scores = new float[documents];
            Arrays.fill(scores, Float.NaN);
        }

        float[] read() throws JsonException {
            json.skipSpace();
            json.object(this::member);
            json.end();
            if (!seen) {
                throw new JsonException("no results");
            }
            if (items != scores.length) {
                throw new JsonException(items + " results for " + scores.length + " documents");
            }
            return scores;
        }

        private void member(String name) throws JsonException {
            if (!name.equals("results")) {
                json.skip();
            } else if (seen) {
                throw new JsonException("results twice");
            } else {
                seen = true;
                json.array(this::item);
            }
        }

        private void item() throws JsonException {
            index = -1;
            score = Float.NaN;
            json.object(this::value);
            if (index < 0 || Float.isNaN(score)) {
                throw new JsonException("a result without index or relevance_score");
            }
            if (!Float.isNaN(scores[index])) {
                throw new JsonException("two results for document " + index);
            }
            scores[index] = score;
            items++;
        }

        private void value(String name) throws JsonException {
            switch (name) {
                case "index" -> readIndex();
                case "relevance_score" -> readScore();
                default -> json.skip();
            }
        }

        private void readIndex() throws JsonException {
            String spelled = json.number();
            boolean isIndex = index < 0 && spelled.matches("[0-9]{1,9}") && Integer.parseInt(spelled) < scores.length;
            if (!isIndex) {
                throw new JsonException("an index that is none of " + scores.length + " documents, or given twice");
            }
            index = Integer.parseInt(spelled);
        }

        private void readScore() throws JsonException {
            if (!Float.isNaN(score)) {
                throw new JsonException("a relevance_score given twice");
            }
            score = Float.parseFloat(json.number());
            if (!Float.isFinite(score)) {
                throw new JsonException("a relevance_score that is not finite");
            }
        }
    }
}
