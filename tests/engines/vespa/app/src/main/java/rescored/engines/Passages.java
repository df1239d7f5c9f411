package rescored.engines;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.yahoo.search.Query;
import com.yahoo.search.Result;
import com.yahoo.search.Searcher;
import com.yahoo.search.result.Hit;
import com.yahoo.search.searchchain.Execution;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A backend of real passages: first-stage rankings read from a run file; fields come only when they are filled. */
public final class Passages extends Searcher {

    private record Scored(String id, double score) {
    }

    private final Map<String, String> corpus = new HashMap<>();
    private final Map<String, List<Scored>> rankings = new HashMap<>();

    public Passages() throws IOException {
        Path folder = Path.of(System.getProperty("rescored.data"));
        ObjectMapper json = new ObjectMapper();
        for (String line : Files.readAllLines(folder.resolve("corpus.jsonl"))) {
            JsonNode row = json.readTree(line);
            corpus.put(row.get("_id").asText(), row.get("text").asText());
        }
        Map<String, String> queries = new HashMap<>();
        for (String line : Files.readAllLines(folder.resolve("queries.jsonl"))) {
            JsonNode row = json.readTree(line);
            queries.put(row.get("_id").asText(), row.get("text").asText());
        }
        List<String> run = Files.readAllLines(folder.resolve("run.tsv"));
        for (String line : run.subList(1, run.size())) {
            String[] cells = line.split("\t");
            rankings.computeIfAbsent(queries.get(cells[0]), query -> new ArrayList<>())
                    .add(new Scored(cells[1], Double.parseDouble(cells[3])));
        }
    }

    @Override
    public Result search(Query query, Execution execution) {
        Result result = new Result(query);
        List<Scored> ranking = rankings.getOrDefault(query.getModel().getQueryString(), List.of());
        int end = Math.min(ranking.size(), query.getOffset() + query.getHits());
        for (Scored scored : ranking.subList(Math.min(query.getOffset(), end), end)) {
            Hit hit = new Hit("id:passages:passage::" + scored.id(), scored.score());
            hit.setFillable();
            result.hits().add(hit);
        }
        result.setTotalHitCount(ranking.size());
        return result;
    }

    @Override
    public void fill(Result result, String summaryClass, Execution execution) {
        for (Hit hit : result.hits().asList()) {
            if (!hit.isMeta()) {
                hit.setField("body", corpus.get(hit.getId().toString().substring("id:passages:passage::".length())));
                hit.setFilled(summaryClass);
            }
        }
    }

}
