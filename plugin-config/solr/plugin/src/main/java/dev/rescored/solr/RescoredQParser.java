package dev.rescored.solr;

import dev.rescored.common.RerankOptions;
import dev.rescored.common.Sidecar;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.apache.lucene.search.MatchAllDocsQuery;
import org.apache.lucene.search.Query;
import org.apache.solr.common.params.SolrParams;
import org.apache.solr.request.SolrQueryRequest;
import org.apache.solr.search.QParser;
import org.apache.solr.search.SyntaxError;

/** {@code rq={!rescored fields="title body" docs=100 v=$q}}, read strictly. */
final class RescoredQParser extends QParser {

    private static final int MOST_DOCS = 10_000;
    /** What Solr itself puts among the local parameters, and what is read here. */
    private static final Set<String> OURS = Set.of("type", "v", "docs", "fields", "weight");

    private final Sidecar sidecar;

    RescoredQParser(String text, SolrParams localParams, SolrParams params, SolrQueryRequest request, Sidecar sidecar) {
        super(text, localParams, params, request);
        this.sidecar = sidecar;
    }

    @Override
    public Query parse() throws SyntaxError {
        Map<String, Object> json = new HashMap<>();
        localParams.getParameterNamesIterator().forEachRemaining(name -> {
            if (!OURS.contains(name)) {
                json.put(name, localParams.get(name));
            }
        });
        json.put("query_text", qstr == null ? "" : qstr);
        String fields = localParams.get("fields");
        if (fields != null) {
            json.put("fields", Arrays.stream(fields.trim().split("[ ,]+")).filter(field -> !field.isEmpty()).toList());
        }
        try {
            String weight = localParams.get("weight");
            if (weight != null) {
                json.put("weight", number(weight));
            }
            return new RescoredQuery(new MatchAllDocsQuery(), new RescoredQuery.Plan(RerankOptions.ofRescorer(json), docs(), sidecar));
        } catch (IllegalArgumentException fault) {
            throw new SyntaxError("rescored: " + fault.getMessage(), fault);
        }
    }

    /** What is no number stays text, which is refused by name. */
    private static Object number(String text) {
        try {
            return Float.valueOf(text);
        } catch (NumberFormatException fault) {
            return text;
        }
    }

    private int docs() {
        String said = localParams.get("docs", Integer.toString(RerankOptions.DEFAULT_DEPTH));
        if (!said.matches("[1-9][0-9]{0,4}") || Integer.parseInt(said) > MOST_DOCS) {
            throw new IllegalArgumentException("[docs] is [" + said + "]; it must be a whole number from 1 to " + MOST_DOCS);
        }
        return Integer.parseInt(said);
    }
}
