package dev.rescored.elasticsearch;

import dev.rescored.common.Messages;
import org.elasticsearch.ElasticsearchStatusException;
import org.elasticsearch.common.logging.HeaderWarning;
import org.elasticsearch.rest.RestStatus;

/** How a search that was not reranked says so: one header {@code Warning}, or one error. */
final class Warnings {

    private Warnings() {}

    static void add(String message) {
        HeaderWarning.addWarning(message);
    }

    /** The sidecar gave no scores. */
    static ElasticsearchStatusException failed(String why) {
        return new ElasticsearchStatusException(Messages.failed(why), RestStatus.SERVICE_UNAVAILABLE);
    }
}
