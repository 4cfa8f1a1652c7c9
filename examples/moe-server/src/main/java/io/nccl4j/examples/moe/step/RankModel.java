package io.nccl4j.examples.moe.step;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.RankMask;
import io.nccl4j.examples.moe.kernels.Cublas;
import io.nccl4j.examples.moe.kernels.ModelKernels;
import io.nccl4j.examples.moe.kernels.Projections;
import io.nccl4j.examples.moe.kernels.RowInputs;
import io.nccl4j.examples.moe.model.ModelConfig;
import io.nccl4j.examples.moe.weights.Checkpoint;
import io.nccl4j.examples.moe.weights.ModelWeights;
import io.nccl4j.examples.moe.weights.SeededWeights;
import io.nccl4j.examples.moe.weights.WeightSource;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Set;
import java.util.TreeSet;

/**
 * The model on one rank: communicator, experts' group, weights, cache and steps. Created, used and closed by one
 * platform thread; creating, steps and closing are collective.
 */
public final class RankModel implements AutoCloseable {
    private final RankOptions options;
    private final Communicator communicator;
    private final CudaStream stream;
    private final EpGroup group;
    private final RowInputs inputs;
    private final DecodeStep step;
    private final StepRunner runner;
    private final Deque<AutoCloseable> owned = new ArrayDeque<>();
    private RankMask mask;

    /** Loads everything and captures. */
    public RankModel(RankOptions options, Bootstrap bootstrap) {
        this.options = options;
        ModelConfig model = options.config();
        CudaDevice device = bootstrap.device();
        device.makeCurrent();
        MemoryNeed.check(model, options, device);
        boolean done = false;
        try {
            // By an id: a communicator that knows the bootstrap is given up when a rank dies, and here the others go
            // on.
            communicator = own(
                    Communicator.init(bootstrap.exchangeUniqueId(), bootstrap.rank(), bootstrap.size(), device));
            stream = own(CudaStream.create(device));
            group = own(EpGroup.create(communicator, groupConfig(model, options)));
            EpHandle handle = own(group.createHandle());
            EpBuffers buffers = own(handle.allocateBuffers(BufferConfig.of(model.hidden(), DataType.BFLOAT16)));
            ModelKernels kernels = own(ModelKernels.load(model, options.context(), device));
            Projections projections = own(
                    options.cublas() ? new Cublas(stream, options.maxRows()) : Projections.ownKernels(kernels));
            ModelWeights weights = own(loadWeights(model, options, bootstrap.rank(), kernels));
            inputs = own(new RowInputs(device, options.maxRows()));
            StepMemory memory = own(new StepMemory(model, options.maxRows(), weights.localExperts(),
                    Math.toIntExact(buffers.received().shape()[1]), options.context(), device));
            KeyValueCache cache = own(new KeyValueCache(model, options.slots(), options.context(), device));
            step = own(new DecodeStep(model, weights, kernels, projections, buffers, inputs, memory, cache));
            handle.warmUp(buffers, options.maxRows(), stream);
            runner = own(new StepRunner(step, options.mode(), options.maxRows(), stream));
            mask = RankMask.all(options.ranks());
            done = true;
        } finally {
            if (!done) {
                close();
            }
        }
    }

    private <T extends AutoCloseable> T own(T resource) {
        owned.push(resource);
        return resource;
    }

    private static EpGroupConfig groupConfig(ModelConfig model, RankOptions options) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(model.experts()).maxTokensPerRank(options.maxRows())
                .maxTokenBytes(model.hidden() * Short.BYTES).layout(Layout.EXPERT_MAJOR).topK(model.topK());
        return options.ranks() > 1 ? config.mask().timeout(Duration.ofMillis(options.timeoutMillis())) : config;
    }

    private ModelWeights loadWeights(ModelConfig model, RankOptions options, int rank, ModelKernels kernels) {
        try (WeightSource source = options.isNamedShape()
                ? new SeededWeights(options.seed(), kernels)
                : new Checkpoint(Path.of(options.model()))) {
            return ModelWeights.load(model, source, rank, options.ranks(), stream);
        }
    }

    /** Runs a step and waits for it; the sampled token of each row. */
    public int[] run(StepBatch batch) {
        int rows = batch.rows();
        for (int row = 0; row < rows; row++) {
            inputs.set(row, batch.tokens()[row], batch.slots()[row], batch.positions()[row], batch.temperatures()[row],
                    batch.seeds()[row]);
        }
        inputs.clearFrom(rows);
        runner.enqueue(rows);
        stream.synchronize();
        int[] sampled = new int[rows];
        MemorySegment.copy(step.sampled().segment(), JAVA_INT, 0, sampled, 0, rows);
        return sampled;
    }

    /** The stream of all steps. */
    public CudaStream stream() {
        return stream;
    }

    /** Logits of the last step, float32 {@code [rows, vocabulary]}. */
    public DeviceMemory logits() {
        return step.logits();
    }

    /** Ranks that have not answered in time since the last {@link #leaveOut}. */
    public Set<Integer> lostRanks() {
        Set<Integer> lost = new TreeSet<>();
        if (options.ranks() > 1 && group.asyncError()) {
            RankMask seen = group.maskQuery(stream);
            for (int rank = 0; rank < options.ranks(); rank++) {
                if (mask.isActive(rank) && !seen.isActive(rank)) {
                    lost.add(rank);
                }
            }
        }
        return lost;
    }

    /** From the next step on, all survivors do without these ranks. */
    public void leaveOut(Set<Integer> lost) {
        for (int rank : lost) {
            mask = mask.without(rank);
        }
        group.maskUpdate(mask, stream);
        group.errorClear();
        stream.synchronize();
    }

    @Override
    public void close() {
        if (mask != null && mask.activeCount() < options.ranks()) {
            // Destroying the group would wait for the ranks that are gone.
            communicator.abandon("a rank is gone");
        }
        RuntimeException first = null;
        while (!owned.isEmpty()) {
            try {
                owned.pop().close();
            } catch (Exception e) {
                RuntimeException failure = e instanceof RuntimeException r ? r : new IllegalStateException(e);
                if (first == null) {
                    first = failure;
                } else {
                    first.addSuppressed(failure);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
