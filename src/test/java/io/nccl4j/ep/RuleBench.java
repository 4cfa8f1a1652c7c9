package io.nccl4j.ep;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeRank;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import org.jspecify.annotations.Nullable;

/** A small group with everything that correct calls need, so that a test can do one thing wrong. */
final class RuleBench implements AutoCloseable {
    static final int EXPERTS = 8;
    static final int TOKENS = 8;
    static final int TOPK = 2;
    static final int LL_HIDDEN = 512;
    static final int HT_HIDDEN = 64;

    final EmulatedRank rank;
    final Communicator communicator;
    final CudaStream stream;
    private final Deque<NativeObject> owned = new ArrayDeque<>();

    RuleBench(EmulatedRank rank) {
        this.rank = rank;
        this.communicator = own(Communicator.init(rank.bootstrap(), rank.device()));
        this.stream = own(CudaStream.create(rank.device()));
    }

    /** The part of a rank that has right calls at hand. */
    @FunctionalInterface
    interface Body {
        void run(RuleBench bench, Calls calls) throws Exception;
    }

    /** Runs a body on each rank of a cluster; none closes before all are done. */
    static void run(EmulatedCluster cluster, Breach.Body body) {
        cluster.run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                body.run(bench);
                rank.bootstrap().barrier();
            }
        });
    }

    /** The same with a group, a handle and right calls. */
    static void run(EmulatedCluster cluster, EpGroupConfig config, Body body) {
        run(cluster, bench -> body.run(bench, bench.calls(config)));
    }

    <T extends NativeObject> T own(T resource) {
        owned.push(resource);
        return resource;
    }

    /** A configuration for bfloat16 rows. */
    static EpGroupConfig lowLatency(Layout layout) {
        return EpGroupConfig.lowLatency().experts(EXPERTS).maxTokensPerRank(TOKENS).maxTokenBytes(LL_HIDDEN * 2)
                .layout(layout).topK(TOPK);
    }

    static EpGroupConfig highThroughput(Layout layout) {
        return EpGroupConfig.highThroughput().experts(EXPERTS).maxTokensPerRank(TOKENS).maxTokenBytes(HT_HIDDEN * 2)
                .layout(layout).topK(TOPK);
    }

    static EpGroupConfig config(LayerKind kind) {
        return kind.isLowLatency() ? lowLatency(kind.layout()) : highThroughput(kind.layout());
    }

    EpGroup group(EpGroupConfig config) {
        return own(EpGroup.create(communicator, config));
    }

    Calls calls(EpGroupConfig config) {
        EpGroup group = group(config);
        return new Calls(group, own(group.createHandle()));
    }

    Calls calls(EpGroupConfig config, HandleConfig handleConfig) {
        EpGroup group = group(config);
        return new Calls(group, own(group.createHandle(handleConfig)));
    }

    private OwnTensors tensors() {
        return new OwnTensors(communicator, this::own);
    }

    EpTensor tensor(DataType type, long... shape) {
        return tensors().tensor(type, shape);
    }

    EpTensor windowed(DataType type, long... shape) {
        return tensors().windowed(type, shape);
    }

    /** Every token goes to the first experts. */
    EpTensor routing(DataType type, long... shape) {
        return routing(1, type, shape);
    }

    /** Every token goes to the experts 0, {@code step}, ... */
    private EpTensor routing(int step, DataType type, long... shape) {
        EpTensor tensor = tensor(type, shape);
        long count = Arrays.stream(shape).reduce(1, (a, b) -> a * b);
        try (HostMirror host = new HostMirror(tensor)) {
            for (long i = 0; i < count; i++) {
                host.integer(i, i % shape[shape.length - 1] * step);
            }
            tensor.memory().copyFrom(host.host().asSlice(0, tensor.byteSize()));
        }
        return tensor;
    }

    /** Correct arguments of all calls of one handle; each can be replaced. */
    final class Calls {
        final EpGroup group;
        final EpHandle handle;
        final boolean lowLatency;
        final int hidden;
        final long rows;
        DataType type = DataType.BFLOAT16;
        EpTensor routing;
        @Nullable
        LayoutInfo updateInfo;
        EpTensor weights;
        DispatchInputs inputs;
        DispatchOutputs outputs;
        @Nullable
        LayoutInfo info;
        @Nullable
        DispatchConfig dispatchConfig;
        CombineInputs combineInputs;
        CombineOutputs combineOutputs;
        @Nullable
        CombineConfig combineConfig;

        Calls(EpGroup group, EpHandle handle) {
            this.group = group;
            this.handle = handle;
            this.lowLatency = group.config().algorithm() == Algorithm.LOW_LATENCY;
            this.hidden = lowLatency ? LL_HIDDEN : HT_HIDDEN;
            this.rows = group.sizing().receiveRows();
            LayerCalls calls = tensors().calls(handle, BufferConfig.of(hidden, type));
            calls.rows(TOKENS);
            routing = routing(group.config().experts() / TOPK, DataType.INT64, TOKENS, TOPK);
            weights = calls.weights();
            updateInfo = calls.updateInfo();
            inputs = calls.inputs();
            outputs = calls.outputs();
            info = calls.dispatchInfo();
            combineInputs = calls.combineInputs();
            combineOutputs = calls.combineOutputs();
        }

        Calls update() {
            handle.update(routing, updateInfo, stream);
            return this;
        }

        Calls dispatch() {
            handle.dispatch(inputs, outputs, info, dispatchConfig, stream);
            return this;
        }

        Calls combine() {
            handle.combine(combineInputs, combineOutputs, combineConfig, stream);
            return this;
        }

        /** Waits for the enqueued work; a trap shows now. */
        Calls await() {
            stream.await(MoeRank.LIMIT);
            return this;
        }
    }

    /** Leaves everything as it is. */
    void abandon() {
        communicator.abandon("the test has misused the library");
        owned.clear();
    }

    @Override
    public void close() {
        RuntimeException first = null;
        while (!owned.isEmpty()) {
            try {
                owned.pop().close();
            } catch (RuntimeException e) {
                first = first == null ? e : first;
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
