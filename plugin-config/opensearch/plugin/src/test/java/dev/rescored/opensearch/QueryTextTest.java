package dev.rescored.opensearch;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.opensearch.core.xcontent.DeprecationHandler;
import org.opensearch.core.xcontent.NamedXContentRegistry;
import org.opensearch.common.xcontent.json.JsonXContent;
import org.opensearch.core.xcontent.XContentParser;

class QueryTextTest {

    private static Optional<String> of(String json) throws IOException {
        try (XContentParser parser = JsonXContent.jsonXContent.createParser(
                NamedXContentRegistry.EMPTY, DeprecationHandler.IGNORE_DEPRECATIONS, json.replace('\'', '"'))) {
            return QueryText.of((Object) parser.mapOrdered());
        }
    }

    private static void assertFound(String json) throws IOException {
        assertEquals(Optional.of("cheap red shoes"), of(json), json);
    }

    @Test
    void the_text_is_found_where_queries_have_it() throws IOException {
        String text = "cheap red shoes";
        assertFound("{'match':{'body':{'query':'" + text + "','operator':'OR'}}}");
        assertFound("{'match':{'body':'" + text + "'}}");
        assertFound("{'match_phrase':{'body':{'query':'" + text + "'}}}");
        assertFound("{'multi_match':{'query':'" + text + "','fields':['a','b']}}");
        assertFound("{'simple_query_string':{'query':'" + text + "'}}");
        assertFound("{'neural':{'embedding':{'query_text':'" + text + "','model_id':'m','k':5}}}");
        assertFound("{'hybrid':{'queries':[{'knn':{'e':{'vector':[1,2]}}},{'neural':{'e':{'query_text':'" + text + "'}}}]}}");
        assertFound("{'hybrid':{'queries':[{'match':{'b':{'query':'" + text + "'}}},{'neural':{'e':{'query_text':'other'}}}]}}");
        assertFound("{'bool':{'filter':[{'match':{'b':'no'}}],'must_not':[{'match':{'b':'no'}}],'should':[{'term':{'b':'no'}},{'match':{'b':'" + text + "'}}]}}");
        assertFound("{'function_score':{'query':{'bool':{'must':{'dis_max':{'queries':[{'match':{'b':'" + text + "'}}]}}}}}}");
    }

    @Test
    void filters_terms_and_vectors_have_none() throws IOException {
        for (String json : new String[] {"{'match_all':{}}", "{'term':{'b':{'value':'x'}}}", "{'bool':{'filter':[{'match':{'b':'x'}}]}}",
            "{'match':{'b':{'query':' '}}}", "{'knn':{'e':{'vector':[1]}}}", "{'match':{}}", "{'match':[]}", "{'hybrid':{'queries':null}}", "{}"}) {
            assertEquals(Optional.empty(), of(json), json);
        }
    }
}
