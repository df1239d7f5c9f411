package dev.rescored.common;

import java.util.Arrays;
import java.util.Comparator;

/**
 * How the sidecar's scores and the engine's become one order. Pure.
 *
 * <p>A hit that was scored has {@code weight * sidecar + (1 - weight) * engine}, which is 0 or more; one that was not
 * has a negative score, so that it stays below on every shard and page (an engine's score has no upper bound, the
 * sidecar's lies between 0 and 1).
 */
public final class Scores {

    private Scores() {}

    /** The score of a hit that was reranked. */
    public static float combined(float engine, float sidecar, float weight) {
        // Written so that a weight of 1 gives the sidecar's score whatever the engine's is, NaN included.
        return weight == 1f ? sidecar : weight * sidecar + (1 - weight) * engine;
    }

    /** The score of a hit that was not reranked: the engine's order is kept, {@code -1 / (1 + engine)} lies below 0. */
    public static float notReranked(float engine) {
        if (Float.isNaN(engine)) {
            return engine;
        }
        return engine >= 0 ? -1f / (1f + engine) : engine - 1f;
    }

    /** Places of the scores from the highest to the lowest, equal ones in their order. */
    public static int[] order(float[] scores) {
        Integer[] places = new Integer[scores.length];
        Arrays.setAll(places, place -> place);
        Arrays.sort(places, Comparator.comparing((Integer place) -> scores[place], (left, right) -> Float.compare(right, left)));
        return Arrays.stream(places).mapToInt(Integer::intValue).toArray();
    }
}
