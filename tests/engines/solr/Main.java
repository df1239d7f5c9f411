import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import org.apache.solr.client.solrj.embedded.EmbeddedSolrServer;
import org.apache.solr.client.solrj.response.QueryResponse;
import org.apache.solr.common.SolrDocument;
import org.apache.solr.common.SolrException;
import org.apache.solr.common.SolrInputDocument;
import org.apache.solr.common.params.ModifiableSolrParams;
import org.apache.solr.common.util.SimpleOrderedMap;
import org.apache.solr.common.util.Utils;

/**
 * One Solr core in this process: its home, its documents as JSON lines. A line in: parameters of a search as a JSON object.
 * A line out: status, documents, what the plugin told, milliseconds.
 */
public final class Main {

    public static void main(String[] arguments) throws Exception {
        // What Solr logs goes to standard output otherwise.
        PrintStream out = System.out;
        System.setOut(System.err);
        try (EmbeddedSolrServer solr = new EmbeddedSolrServer(Path.of(arguments[0]), "passages")) {
            solr.add(Files.readAllLines(Path.of(arguments[1])).stream().map(line -> document((Map<?, ?>) Utils.fromJSONString(line))).toList());
            solr.commit();
            out.println(oneLine(Map.of("version", EmbeddedSolrServer.class.getPackage().getImplementationVersion())));
            Scanner in = new Scanner(System.in, StandardCharsets.UTF_8);
            while (in.hasNextLine()) {
                out.println(oneLine(answer(solr, (Map<?, ?>) Utils.fromJSONString(in.nextLine()))));
            }
        }
    }

    private static String oneLine(Map<String, Object> answer) {
        return new String(Utils.toJSON(answer), StandardCharsets.UTF_8).replaceAll("\\s*\n\\s*", " ");
    }

    private static SolrInputDocument document(Map<?, ?> row) {
        SolrInputDocument document = new SolrInputDocument();
        document.addField("id", row.get("_id"));
        document.addField("title", "Paragraph " + row.get("_id"));
        document.addField("body", row.get("text"));
        document.addField("author", List.of("Ann", "Bob"));
        document.addField("length", row.get("text").toString().length());
        return document;
    }

    private static Map<String, Object> answer(EmbeddedSolrServer solr, Map<?, ?> said) throws IOException {
        ModifiableSolrParams params = new ModifiableSolrParams();
        said.forEach((name, value) -> params.set(name.toString(), value.toString()));
        long start = System.nanoTime();
        Map<String, Object> answer = new LinkedHashMap<>();
        try {
            QueryResponse response = solr.query(params);
            List<Object> docs = new ArrayList<>();
            for (SolrDocument document : response.getResults()) {
                docs.add(new LinkedHashMap<>(document));
            }
            answer.put("status", 200);
            answer.put("docs", docs);
            answer.put("found", response.getResults().getNumFound());
            answer.put("maxScore", response.getResults().getMaxScore());
            Object told = response.getResponse().get("rescored");
            answer.put("rescored", told instanceof SimpleOrderedMap<?> map ? map.asShallowMap() : told);
        } catch (SolrException fault) {
            answer.put("status", fault.code());
            answer.put("error", fault.getMessage());
        } catch (Exception fault) {
            answer.put("status", 500);
            answer.put("error", fault.toString());
        }
        answer.put("millis", (System.nanoTime() - start) / 1e6);
        return answer;
    }
}
