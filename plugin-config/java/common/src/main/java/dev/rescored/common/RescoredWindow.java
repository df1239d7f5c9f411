package dev.rescored.common;

import dev.rescored.client.RescoredException;
import dev.rescored.common.RerankOptions.OnFailure;
import dev.rescored.common.Sidecar.Caller;
import dev.rescored.common.Sidecar.Outcome;
import java.util.List;

/**
 * What a rescorer makes of one shard's hits.
 *
 * @param scores one for each hit, in the order in which the engine had them
 * @param reranked how many of the first hits have the sidecar's score: all of the window, or none
 * @param warning for the caller of the search, or null
 */
public record RescoredWindow(float[] scores, int reranked, String warning) {

    /**
     * Asks the sidecar for scores of the first hits.
     *
     * @param engine the engine's scores of all hits, best first
     * @param texts of the first hits, as many as shall be reranked
     * @param source where the engine keeps the fields, for the warning
     * @throws RescoredException when there are no scores and the search shall fail without
     */
    public static RescoredWindow of(Sidecar sidecar, RerankOptions options, float[] engine, List<String> texts, String source)
            throws RescoredException {
        float[] scores = engine.clone();
        int reranked = texts.size();
        String warning = texts.stream().allMatch(String::isEmpty) ? Messages.noText(options.template().fields(), source) : null;
        try {
            float[] answer = sidecar.scores(options.queryText(), texts, sidecar.timeout(options.timeout()));
            for (int n = 0; n < reranked; n++) {
                scores[n] = Scores.combined(engine[n], answer[n], options.weight());
            }
            sidecar.count(Caller.RESCORER, Outcome.RERANKED);
        } catch (RescoredException fault) {
            if (sidecar.onFailure(options.onFailure()) == OnFailure.FAIL) {
                sidecar.count(Caller.RESCORER, Outcome.FAILED);
                throw fault;
            }
            sidecar.count(Caller.RESCORER, Outcome.KEPT);
            reranked = 0;
            warning = Messages.kept(fault.getMessage());
        }
        for (int n = reranked; n < scores.length; n++) {
            // Also where nothing was reranked: the scores of this shard meet those of others, which were.
            scores[n] = Scores.notReranked(engine[n]);
        }
        return new RescoredWindow(scores, reranked, warning);
    }
}
