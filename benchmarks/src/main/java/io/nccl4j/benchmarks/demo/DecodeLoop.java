package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.cli.Progress;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;
import java.util.List;
import java.util.stream.IntStream;

/** A rank's decode loop: its steps eagerly and as replays of graphs, every step's rows verified. */
record DecodeLoop(DemoOptions.Plan plan, MoeModel model, LayerKind kind, Progress progress) {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    /** Runs a rank; on its thread. */
    List<ModeResult> run(Rank rank) {
        try (MoeRank moe = new MoeRank(rank.bootstrap(), rank.device(), plan.config(kind), plan.rows())) {
            MoeLayer layer = moe.layer();
            DecodeStep step = moe.own(new DecodeStep(plan, model, layer));
            if (rank.sharesDevice()) {
                loadKernels(rank, layer.buffers(), moe.stream());
            }
            layer.handle().warmUp(layer.buffers(), plan.shape().maxTokens(), moe.stream());
            StepRunner runner = new StepRunner(rank, plan, model, step, layer, moe.stream());
            return plan.compared() ? compare(runner) : oneAfterTheOther(runner);
        }
    }

    /** A step that routes nothing, by one rank after the other. */
    private static void loadKernels(Rank rank, EpBuffers buffers, CudaStream stream) {
        LayerCalls calls = LayerCalls.of(buffers);
        buffers.routing().memory().fillAsync((byte) -1, stream);
        calls.update(buffers.handle(), stream);
        rank.inTurn(() -> calls.dispatch(buffers.handle(), stream));
        rank.inTurn(() -> calls.combine(buffers.handle(), stream));
        stream.await(LIMIT);
    }

    /** All steps eagerly, then others from one graph that holds as many tokens as there can be. */
    private List<ModeResult> oneAfterTheOther(StepRunner runner) {
        ModeResult eager = ModeResult.none(Mode.EAGER);
        for (int number = 0; number < plan.steps(); number++) {
            eager = eager.plus(runner.run(number, runner.eagerly()));
            progress.step();
        }
        ModeResult replayed = ModeResult.none(Mode.GRAPH);
        try (GraphCache graphs = runner.capture(IntStream.of(plan.shape().maxTokens()))) {
            // Other tokens, so that nothing left over can pass for a result.
            for (int number = plan.steps(); number < 2 * plan.steps(); number++) {
                replayed = replayed.plus(runner.run(number, runner.replayed(graphs)));
                progress.step();
            }
        }
        return List.of(eager, replayed);
    }

    /** Each step eagerly and, on the same tokens, from the smallest of several graphs that holds them. */
    private List<ModeResult> compare(StepRunner runner) {
        ModeResult eager = ModeResult.none(Mode.EAGER);
        ModeResult replayed = ModeResult.none(Mode.GRAPH);
        int most = plan.shape().maxTokens();
        try (GraphCache graphs = runner.capture(IntStream.of(Math.ceilDiv(most, 4), Math.ceilDiv(most, 2), most))) {
            for (int number = 0; number < plan.steps(); number++) {
                StepResult first = runner.run(number, runner.eagerly());
                progress.step();
                runner.spoil();
                StepResult second = runner.run(number, runner.replayed(graphs));
                progress.step();
                eager = eager.plus(first);
                replayed = replayed.plus(second.comparedWith(first, runner.name(number)));
            }
        }
        return List.of(eager, replayed);
    }
}
