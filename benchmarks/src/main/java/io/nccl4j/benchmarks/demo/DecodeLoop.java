package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.cli.Progress;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.util.List;

/** A rank's decode loop: its steps eagerly and as replays of graphs, every step's rows verified. */
final class DecodeLoop {
    private final DemoOptions options;
    private final MoeModel model;
    private final AlgorithmChoice algorithm;
    private final Progress progress;

    DecodeLoop(DemoOptions options, MoeModel model, AlgorithmChoice algorithm, Progress progress) {
        this.options = options;
        this.model = model;
        this.algorithm = algorithm;
        this.progress = progress;
    }

    /** Runs a rank; on its thread. */
    List<ModeResult> run(Rank rank) {
        try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                CudaStream stream = CudaStream.create(rank.device());
                EpGroup group = EpGroup.create(communicator, algorithm.config(options));
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(BufferConfig.of(options.hidden(), DataType.BFLOAT16));
                ExpertStage experts = algorithm.stage(options, rank.number(), buffers);
                DecodeStep step = new DecodeStep(options, model, experts, buffers)) {
            handle.warmUp(buffers, options.tokens(), stream);
            Reference reference = new Reference(options, model,
                    new CombineArithmetic(algorithm, group.generation()));
            StepRunner runner = new StepRunner(rank, options, model, step, experts, reference, stream);
            return options.compared() ? compare(runner) : oneAfterTheOther(runner);
        }
    }

    /** All steps eagerly, then others from one graph that holds as many tokens as there can be. */
    private List<ModeResult> oneAfterTheOther(StepRunner runner) {
        ModeResult eager = ModeResult.none(Mode.EAGER);
        for (int number = 0; number < options.steps(); number++) {
            eager = eager.plus(runner.run(number, runner.eagerly()));
            progress.step();
        }
        ModeResult replayed = ModeResult.none(Mode.GRAPH);
        try (StepGraphs graphs = runner.capture(options.tokens())) {
            // Other tokens, so that nothing left over can pass for a result.
            for (int number = options.steps(); number < 2 * options.steps(); number++) {
                replayed = replayed.plus(runner.run(number, graphs::launch));
                progress.step();
            }
        }
        return List.of(eager, replayed);
    }

    /** Each step eagerly and, on the same tokens, from the smallest of several graphs that holds them. */
    private List<ModeResult> compare(StepRunner runner) {
        ModeResult eager = ModeResult.none(Mode.EAGER);
        ModeResult replayed = ModeResult.none(Mode.GRAPH);
        int most = options.tokens();
        try (StepGraphs graphs = runner.capture(Math.ceilDiv(most, 4), Math.ceilDiv(most, 2), most)) {
            for (int number = 0; number < options.steps(); number++) {
                StepResult first = runner.run(number, runner.eagerly());
                progress.step();
                runner.spoil();
                StepResult second = runner.run(number, graphs::launch);
                progress.step();
                eager = eager.plus(first);
                replayed = replayed.plus(second.comparedWith(first, runner.name(number)));
            }
        }
        return List.of(eager, replayed);
    }
}
