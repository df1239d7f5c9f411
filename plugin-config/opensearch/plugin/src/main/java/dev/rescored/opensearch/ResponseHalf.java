package dev.rescored.opensearch;

import dev.rescored.client.RescoredException;
import dev.rescored.common.RerankOptions.OnFailure;
import dev.rescored.common.Sidecar;
import dev.rescored.common.Sidecar.Caller;
import dev.rescored.common.Sidecar.Outcome;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.Executor;
import org.opensearch.action.ActionRunnable;
import org.opensearch.action.search.SearchRequest;
import org.opensearch.action.search.SearchResponse;
import org.opensearch.core.action.ActionListener;
import org.opensearch.core.concurrency.OpenSearchRejectedExecutionException;
import org.opensearch.search.pipeline.PipelineProcessingContext;
import org.opensearch.search.pipeline.SearchResponseProcessor;

/** The response half of the pipeline: reranks the hits once and cuts the caller's page out of them. */
record ResponseHalf(String getTag, String getDescription, boolean isIgnoreFailure, Sidecar sidecar, Executor executor)
        implements SearchResponseProcessor {

    @Override
    public String getType() {
        return RequestHalf.TYPE;
    }

    @Override
    public SearchResponse processResponse(SearchRequest request, SearchResponse response) {
        throw new IllegalStateException("a search pipeline gives its context");
    }

    @Override
    public void processResponseAsync(
            SearchRequest request, SearchResponse response, PipelineProcessingContext context, ActionListener<SearchResponse> listener) {
        RerankPlan plan = (RerankPlan) context.getAttribute(RerankPlan.ATTRIBUTE);
        if (plan == null) {
            listener.onResponse(response);
        } else if (plan.skip() != null) {
            sidecar.count(Caller.PIPELINE, Outcome.SKIPPED);
            Warnings.kept(plan.skip());
            listener.onResponse(response);
        } else if (response.getHits().getHits().length == 0 || plan.from() >= plan.depth()) {
            listener.onResponse(Page.beyond(response));
        } else {
            // The call waits for the sidecar, and this thread belongs to the transport.
            rerankElsewhere(response, plan, listener);
        }
    }

    private void rerankElsewhere(SearchResponse response, RerankPlan plan, ActionListener<SearchResponse> listener) {
        long until = System.nanoTime() + time(response, plan).toNanos();
        try {
            executor.execute(ActionRunnable.supply(listener, () -> rerank(response, plan, until)));
        } catch (OpenSearchRejectedExecutionException full) {
            ActionListener.completeWith(listener, () -> keepOrFail(response, plan, "the queue of the thread pool [rescored] is full"));
        }
    }

    /** What the search itself leaves, where it has a timeout. */
    private Duration time(SearchResponse response, RerankPlan plan) {
        Duration most = sidecar.timeout(plan.options().timeout());
        if (plan.searchTimeout() == null) {
            return most;
        }
        Duration left = plan.searchTimeout().minusMillis(response.getTook().millis());
        return left.compareTo(most) < 0 ? left : most;
    }

    private SearchResponse rerank(SearchResponse response, RerankPlan plan, long until) throws Exception {
        int count = Math.min(plan.depth(), response.getHits().getHits().length);
        List<String> texts = Page.texts(response.getHits().getHits(), count, plan.options().template());
        if (texts.stream().allMatch(String::isEmpty)) {
            Warnings.noText(plan.options().template());
        }
        float[] scores;
        try {
            scores = sidecar.scores(plan.queryText(), texts, Duration.ofNanos(Math.max(0, until - System.nanoTime())));
        } catch (RescoredException fault) {
            return keepOrFail(response, plan, fault.getMessage());
        }
        sidecar.count(Caller.PIPELINE, Outcome.RERANKED);
        return Page.reranked(response, scores, plan);
    }

    private SearchResponse keepOrFail(SearchResponse response, RerankPlan plan, String why) throws Exception {
        // A failure that the pipeline ignores would hand on all the hits that were fetched in place of the caller's page.
        if (plan.onFailure(sidecar) == OnFailure.FAIL && !isIgnoreFailure) {
            sidecar.count(Caller.PIPELINE, Outcome.FAILED);
            throw Warnings.failed(why);
        }
        sidecar.count(Caller.PIPELINE, Outcome.KEPT);
        Warnings.kept(why);
        return Page.unchanged(response, plan);
    }
}
