package io.nccl4j.examples.moe.rank;

import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The answer of a rank to a step, or, as its first answer, that it is ready.
 *
 * @param sampled the next token of each row
 * @param lost ranks that did not answer it in time
 * @param failure why it ends, null if it does not
 */
public record RankAnswer(int[] sampled, Set<Integer> lost, @Nullable String failure) {
    static final RankAnswer READY = new RankAnswer(new int[0], Set.of(), null);

    static RankAnswer failed(Throwable e) {
        String message = e.getMessage();
        return new RankAnswer(new int[0], Set.of(), message == null ? e.toString() : message);
    }
}
