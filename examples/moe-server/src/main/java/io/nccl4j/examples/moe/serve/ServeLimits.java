package io.nccl4j.examples.moe.serve;

import java.time.Duration;

/**
 * The limits of the work that the engine takes on.
 *
 * @param queue most sequences that wait for a slot
 * @param chunk most rows of a step on a rank for prompts
 * @param stepLimit how long a step may take before a rank that has not answered counts as lost
 */
public record ServeLimits(int queue, int chunk, Duration stepLimit) {
}
