import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import org.elasticsearch.Build;
import org.elasticsearch.common.xcontent.XContentHelper;
import org.elasticsearch.common.bytes.BytesArray;
import org.elasticsearch.common.xcontent.XContentParserUtils;
import org.elasticsearch.xcontent.XContentFactory;
import org.elasticsearch.xcontent.XContentParser;
import org.elasticsearch.xcontent.XContentParserConfiguration;
import org.elasticsearch.xcontent.XContentType;
import org.elasticsearch.xpack.core.inference.results.RankedDocsResults;

/**
 * Reads rerank answers by Elasticsearch's own parser into its own result class.
 *
 * The inference plugin's response classes are not published, so their rules are written down here: which fields an item
 * may hold, which tokens they must be. A line in: service, a tab, a JSON body. A line out: `ok` with index=score pairs, or
 * `fault` with a message.
 */
public final class Parse {

    public static void main(String[] arguments) {
        System.out.println("Elasticsearch " + Build.current().version());
        Scanner in = new Scanner(System.in, StandardCharsets.UTF_8);
        while (in.hasNextLine()) {
            String[] parts = in.nextLine().split("\t", 2);
            try {
                StringBuilder line = new StringBuilder("ok");
                for (RankedDocsResults.RankedDoc doc : read(parts[0], parts[1])) {
                    line.append(' ').append(doc.index()).append('=').append(doc.relevanceScore());
                }
                System.out.println(line);
            } catch (Exception fault) {
                System.out.println("fault " + fault.getMessage().replace('\n', ' '));
            }
        }
    }

    private static List<RankedDocsResults.RankedDoc> read(String service, String body) throws IOException {
        if (service.equals("custom")) {
            return custom(body);
        }
        try (XContentParser parser = XContentFactory.xContent(XContentType.JSON).createParser(
                XContentParserConfiguration.EMPTY, new ByteArrayInputStream(body.getBytes(StandardCharsets.UTF_8)))) {
            parser.nextToken();
            if (service.equals("cohere")) {
                XContentParserUtils.ensureExpectedToken(XContentParser.Token.START_OBJECT, parser.currentToken(), parser);
                while (parser.nextToken() != null) {
                    if (parser.currentToken() == XContentParser.Token.FIELD_NAME && parser.currentName().equals("results")) {
                        parser.nextToken();
                        break;
                    }
                    if (parser.currentToken().isValue() == false && parser.currentToken() != XContentParser.Token.FIELD_NAME) {
                        parser.skipChildren();
                    }
                }
            }
            XContentParserUtils.ensureExpectedToken(XContentParser.Token.START_ARRAY, parser.currentToken(), parser);
            List<RankedDocsResults.RankedDoc> docs = XContentParserUtils.parseList(
                    parser, item -> item(item, service.equals("cohere") ? "relevance_score" : "score"));
            return docs.stream().sorted(Comparator.comparingDouble(RankedDocsResults.RankedDoc::relevanceScore).reversed()).toList();
        }
    }

    /** Any other field in an item is refused, and a document must be an object. */
    private static RankedDocsResults.RankedDoc item(XContentParser parser, String scoreField) throws IOException {
        XContentParserUtils.ensureExpectedToken(XContentParser.Token.START_OBJECT, parser.currentToken(), parser);
        Integer index = null;
        Float score = null;
        while (parser.nextToken() != XContentParser.Token.END_OBJECT) {
            String field = parser.currentName();
            parser.nextToken();
            if (field.equals("index")) {
                index = parser.intValue();
            } else if (field.equals(scoreField)) {
                score = parser.floatValue();
            } else if (field.equals("text") && scoreField.equals("score")) {
                parser.text();
            } else if (field.equals("document")) {
                XContentParserUtils.ensureExpectedToken(XContentParser.Token.START_OBJECT, parser.currentToken(), parser);
                parser.skipChildren();
            } else {
                XContentParserUtils.throwUnknownField(field, parser);
            }
        }
        if (index == null || score == null) {
            throw new IllegalStateException("an item lacks index or " + scoreField);
        }
        return new RankedDocsResults.RankedDoc(index, score, null);
    }

    /** The paths of inference-custom.json over a map, as the custom service reads. */
    @SuppressWarnings("unchecked")
    private static List<RankedDocsResults.RankedDoc> custom(String body) {
        Map<String, Object> map = XContentHelper.convertToMap(new BytesArray(body), true, XContentType.JSON).v2();
        List<Map<String, Object>> results = (List<Map<String, Object>>) map.get("results");
        return results.stream().map(item -> new RankedDocsResults.RankedDoc(
                ((Number) item.get("index")).intValue(), ((Number) item.get("relevance_score")).floatValue(), null)).toList();
    }

}
