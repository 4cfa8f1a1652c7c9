package io.nccl4j.benchmarks.patterns;

/** A way to make a decode step. */
interface StepPattern extends AutoCloseable {
    /** Makes the calls of one step. */
    void enqueue();

    @Override
    default void close() {
    }
}
