package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.testing.MoeLayer;
import java.util.Objects;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;

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

    /** The step as graphs that hold different numbers of tokens, all on the same handle and buffers. Collective. */
    GraphCache capture(IntStream tokens) {
        GraphCache graphs = GraphCache.create(rank.bootstrap(), stream, (key, on) -> step.enqueue(key.tokens(), on));
        try {
            graphs.capture(tokens.distinct().mapToObj(this::key).toArray(GraphKey[]::new));
            return graphs;
        } catch (RuntimeException e) {
            graphs.close();
            throw e;
        }
    }

    /** Replays the smallest graph that holds a batch; what it holds beyond goes nowhere. */
    IntConsumer replayed(GraphCache graphs) {
        return batch -> Objects.requireNonNull(graphs.find(key(batch), batch)).launch(stream);
    }

    private GraphKey key(int tokens) {
        return GraphKey.of(tokens, layer.buffers());
    }

    /** Overwrites the results of the step before. */
    void spoil() {
        step.spoil(stream);
        stream.synchronize();
    }

    /** The exception that reports a difference in a step. */
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
        return new StepResult(enqueued - before, done - before, outputs, layer.rows().received(),
                new Reference(model, layer, rank.number()).verify(name(number), step.rows(0), outputs));
    }
}
