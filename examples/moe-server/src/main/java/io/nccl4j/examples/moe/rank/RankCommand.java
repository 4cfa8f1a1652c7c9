package io.nccl4j.examples.moe.rank;

import io.nccl4j.examples.moe.step.StepBatch;
import java.util.Set;

/** A command of the engine to a rank. */
public sealed interface RankCommand {
    /** Makes a step with these rows; answered with a {@link RankAnswer}. */
    record Step(StepBatch batch) implements RankCommand {
    }

    /** Does without these ranks from now on. */
    record LeaveOut(Set<Integer> ranks) implements RankCommand {
    }

    /** Closes everything and ends. */
    record Stop() implements RankCommand {
    }
}
