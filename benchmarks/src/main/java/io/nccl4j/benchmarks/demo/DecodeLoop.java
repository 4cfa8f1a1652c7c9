package io.nccl4j.benchmarks.demo;

import io.nccl4j.benchmarks.cli.Progress;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntConsumer;

/** A rank's decode loop: steps eagerly, then as replays of one graph, every step's rows verified. */
final class DecodeLoop {
    private final DemoOptions options;
    private final MoeModel model;
    private final AlgorithmChoice algorithm;
    private final List<Mode> modes;
    private final Progress progress;

    DecodeLoop(DemoOptions options, MoeModel model, AlgorithmChoice algorithm, List<Mode> modes, Progress progress) {
        this.options = options;
        this.model = model;
        this.algorithm = algorithm;
        this.modes = modes;
        this.progress = progress;
    }

    /** Runs a rank; on its thread. */
    List<ModeResult> run(Rank rank) {
        try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                CudaStream stream = CudaStream.create(rank.device());
                EpGroup group = EpGroup.create(communicator, algorithm.config(options));
                EpHandle handle = group.createHandle();
                EpBuffers buffers = handle.allocateBuffers(options.hidden(), DataType.BFLOAT16);
                ExpertStage experts = algorithm.stage(options, rank.number(), buffers);
                DecodeStep step = new DecodeStep(options, model, experts, buffers)) {
            List<ModeResult> results = new ArrayList<>();
            for (Mode mode : modes) {
                results.add(mode == Mode.EAGER
                        ? loop(rank, mode, step, stream, batch -> step.enqueue(batch, stream))
                        : replays(rank, step, stream));
            }
            return results;
        }
    }

    private ModeResult replays(Rank rank, DecodeStep step, CudaStream stream) {
        try (CudaGraph graph = stream.capture(() -> step.enqueue(options.tokens(), stream));
                CudaGraphExec replay = graph.instantiate()) {
            return loop(rank, Mode.GRAPH, step, stream, batch -> replay.launch(stream));
        }
    }

    /** @param start makes the calls of a step, given the number of tokens */
    private ModeResult loop(Rank rank, Mode mode, DecodeStep step, CudaStream stream, IntConsumer start) {
        Reference reference = new Reference(options, model, algorithm);
        ModeResult result = ModeResult.none(mode);
        for (int i = 0; i < options.steps(); i++) {
            // Other tokens in every mode, so that nothing left over from the one before can pass for a result.
            int number = mode.ordinal() * options.steps() + i;
            step.setTokens(model.tokens(number, rank.number()));
            // Nobody verifies while others are timed.
            rank.bootstrap().barrier();
            long before = System.nanoTime();
            start.accept(model.batch(number, rank.number()));
            long enqueued = System.nanoTime();
            stream.synchronize();
            long done = System.nanoTime();
            rank.bootstrap().barrier();
            byte[][][] outputs = new byte[options.layers()][][];
            for (int layer = 0; layer < outputs.length; layer++) {
                outputs[layer] = step.rows(layer + 1);
            }
            Verification verification = reference.verify(number, rank.number(), step.rows(0), outputs);
            result = result.plus(enqueued - before, done - before, verification);
            progress.step();
        }
        return result;
    }
}
