package dev.rescored.client;

import dev.rescored.client.RescoredException.Kind;
import java.util.List;
import java.util.Map;

/**
 * What a client has done since it was built.
 *
 * @param calls that were asked for
 * @param answered of them, with all scores
 * @param documents scored in these
 * @param cachedDocuments of these, that the sidecar had in its cache
 * @param failures calls without scores, by their reason; with {@code answered} and {@code inFlight} they make {@code calls}
 * @param retries on another connection or address within one call
 * @param connectionsOpened since the start
 * @param connectionsIdle kept for later calls
 * @param inFlight calls under way
 * @param answeredMicros sum of the times that answered calls took, in microseconds
 * @param endpoints state of every address
 */
public record ClientStats(
        long calls, long answered, long documents, long cachedDocuments, Map<Kind, Long> failures, long retries,
        long connectionsOpened, long connectionsIdle, long inFlight, long answeredMicros, List<EndpointStats> endpoints) {

    /**
     * @param endpoint as it was configured
     * @param breaker CLOSED, OPEN or HALF_OPEN
     * @param timesOpened how often the breaker opened
     */
    public record EndpointStats(String endpoint, String breaker, long timesOpened) {}
}
