package dev.rescored.common;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Random;
import org.junit.jupiter.api.Test;

class ScoresTest {

    @Test
    void a_weight_of_one_gives_the_sidecars_score_and_less_mixes_the_engines_in() {
        assertEquals(0.25f, Scores.combined(12f, 0.25f, 1f));
        assertEquals(0.25f, Scores.combined(Float.NaN, 0.25f, 1f));
        assertEquals(12f, Scores.combined(12f, 0.25f, 0f));
        assertEquals(6.125f, Scores.combined(12f, 0.25f, 0.5f));
    }

    @Test
    void hits_that_were_not_reranked_keep_their_order_below_those_that_were() {
        Random random = new Random(3);
        for (int n = 0; n < 100_000; n++) {
            float low = random.nextFloat() * 50;
            float high = low + 0.001f + random.nextFloat();
            assertTrue(Scores.notReranked(low) < Scores.notReranked(high), low + " " + high);
            assertTrue(Scores.notReranked(high) < 0f);
        }
        assertEquals(-1f, Scores.notReranked(0f));
        assertTrue(Scores.notReranked(-0.5f) < Scores.notReranked(0f));
        assertTrue(Float.isNaN(Scores.notReranked(Float.NaN)));
    }

    @Test
    void equal_scores_keep_their_order() {
        assertArrayEquals(new int[] {1, 3, 0, 2}, Scores.order(new float[] {0.5f, 0.9f, 0.5f, 0.9f}));
        assertArrayEquals(new int[] {}, Scores.order(new float[] {}));
    }
}
