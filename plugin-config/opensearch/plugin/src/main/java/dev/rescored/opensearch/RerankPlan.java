package dev.rescored.opensearch;

import dev.rescored.common.RerankOptions;
import dev.rescored.common.RerankOptions.OnFailure;
import dev.rescored.common.Sidecar;
import java.time.Duration;
import org.opensearch.search.fetch.subphase.FetchSourceContext;

/**
 * What the request half of the pipeline leaves for the response half of the same search.
 *
 * @param from where the caller's page begins
 * @param size of the caller's page
 * @param skip why the search is not reranked, or null when it is
 * @param callersSource what the caller wants of {@code _source}, where more is fetched; else null
 * @param searchTimeout of the search itself, or null
 */
record RerankPlan(
        RerankOptions options, String queryText, int depth, int from, int size, String skip, FetchSourceContext callersSource,
        Duration searchTimeout) {

    /** Its name in the context of a pipeline. */
    static final String ATTRIBUTE = "rescored.plan";

    static RerankPlan skipping(RerankOptions options, String why) {
        return new RerankPlan(options, null, 0, 0, 0, why, null, null);
    }

    OnFailure onFailure(Sidecar sidecar) {
        return sidecar.onFailure(options.onFailure());
    }
}
