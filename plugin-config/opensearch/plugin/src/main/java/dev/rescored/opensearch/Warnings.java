package dev.rescored.opensearch;

import org.opensearch.OpenSearchStatusException;
import org.opensearch.common.logging.HeaderWarning;
import org.opensearch.core.rest.RestStatus;

/** How a search that was not reranked says so: one header {@code Warning}, or one error. */
final class Warnings {

    private Warnings() {}

    static void kept(String why) {
        HeaderWarning.addWarning("[rescored] the engine's order was kept: " + why + "; [rescored.on_failure] is [keep]");
    }

    static void note(String what) {
        HeaderWarning.addWarning("[rescored] " + what);
    }

    /** The sidecar gave no scores. */
    static OpenSearchStatusException failed(String why) {
        return new OpenSearchStatusException("[rescored] " + why + "; [rescored.on_failure] is [fail]", RestStatus.SERVICE_UNAVAILABLE);
    }

    /** The search cannot be reranked as it is. */
    static OpenSearchStatusException refused(String why) {
        return new OpenSearchStatusException("[rescored] " + why + "; [rescored.on_failure] is [fail]", RestStatus.BAD_REQUEST);
    }
}
