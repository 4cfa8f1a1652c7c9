package io.nccl4j.nccl;

/**
 * How a rank went away from a {@link Bootstrap}.
 *
 * @param lost whether it takes part in nothing any more: its process has ended, its connection broke, or it said so
 *     with {@link Bootstrap#leave}. If false, it has only closed its bootstrap, or given up a call of it, and may still
 *     use its communicator
 * @param how the rest of a sentence that begins with the rank, such as {@code has left}
 */
public record Departure(boolean lost, String how) {
}
