package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.testing.MoeLayer;
import java.util.function.IntConsumer;

/**
 * Runs a rank's steps one by one, in step with the other ranks: times and verifies them.
 *
 * @param stream the one that everything runs on
 */
record StepRunner(Rank rank, DemoOptions.Plan plan, MoeModel model, DecodeStep step, MoeLayer layer,
        CudaStream stream) {

    /** Makes all calls of a step. */
    IntConsumer eagerly() {
        return batch -> step.enqueue(batch, stream);
    }

    /** Captures the step once for each number of tokens. */
    StepGraphs capture(int... tokens) {
        return StepGraphs.capture(stream, count -> step.enqueue(count, stream), tokens);
    }

    /** Overwrites the results of the step before. */
    void spoil() {
        step.spoil(stream);
        stream.synchronize();
    }

    /** What a difference in a step is reported as. */
    String name(int number) {
        return "step " + number + ", rank " + rank.number();
    }

    /**
     * Runs a step.
     *
     * @param number names its tokens
     * @param start makes its calls, given how many tokens there are
     */
    StepResult run(int number, IntConsumer start) {
        step.setTokens(model.tokens(number, rank.number()));
        // Nobody verifies while others are timed.
        rank.bootstrap().barrier();
        long before = System.nanoTime();
        start.accept(model.batch(number, rank.number()));
        long enqueued = System.nanoTime();
        stream.synchronize();
        long done = System.nanoTime();
        rank.bootstrap().barrier();
        byte[][][] outputs = new byte[plan.layers()][][];
        for (int layer = 0; layer < outputs.length; layer++) {
            outputs[layer] = step.rows(layer + 1);
        }
        return new StepResult(enqueued - before, done - before, outputs, layer.received(),
                new Reference(model, layer, rank.number()).verify(name(number), step.rows(0), outputs));
    }
}
