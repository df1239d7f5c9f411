package dev.rescored.opensearch;

import dev.rescored.common.Messages;
import dev.rescored.common.PassageTemplate;
import org.opensearch.OpenSearchStatusException;
import org.opensearch.common.logging.HeaderWarning;
import org.opensearch.core.rest.RestStatus;

/** How a search that was not reranked says so: one header {@code Warning}, or one error. */
final class Warnings {

    private Warnings() {}

    static void add(String message) {
        HeaderWarning.addWarning(message);
    }

    static void kept(String why) {
        add(Messages.kept(why));
    }

    static void noText(PassageTemplate template) {
        add(Messages.noText(template.fields(), "_source"));
    }

    /** The sidecar gave no scores. */
    static OpenSearchStatusException failed(String why) {
        return new OpenSearchStatusException(Messages.failed(why), RestStatus.SERVICE_UNAVAILABLE);
    }

    /** The search cannot be reranked as it is. */
    static OpenSearchStatusException refused(String why) {
        return new OpenSearchStatusException(Messages.failed(why), RestStatus.BAD_REQUEST);
    }
}
