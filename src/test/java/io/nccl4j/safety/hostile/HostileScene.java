package io.nccl4j.safety.hostile;

import io.nccl4j.NativeLibraryException;
import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaKernel;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.Dim3;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.ep.Preflight;
import io.nccl4j.ep.RankMask;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.ep.graph.GraphCacheStatistics;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Departure;
import io.nccl4j.nccl.NcclException;
import io.nccl4j.nccl.NcclResult;
import io.nccl4j.nccl.UniqueId;
import io.nccl4j.nccl.Window;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/** The objects that a rank of a hostile sequence works with. Made alike on all ranks. */
final class HostileScene {
    static final Duration LIMIT = Duration.ofSeconds(20);

    final HostileSequence sequence;
    final EmulatedRank rank;
    final SplittableRandom random;
    final ObjectPool pool = new ObjectPool();
    final HostileTrail trail;
    final EpCase model;
    final LayerKind shape;
    final Communicator communicator;
    final CudaStream stream;
    /** Has nothing that is collective on it. */
    final CudaDevice foreign;
    private final List<DeviceMemory> routings = new ArrayList<>();
    private final List<AutoCloseable> late = new ArrayList<>();
    private final List<AutoCloseable> last = new ArrayList<>();
    private EpGroup group;
    private @Nullable MoeLayer layer;
    private @Nullable CudaGraphExec captured;
    private int capturedTokens;
    private boolean lockstep = true;

    HostileScene(HostileSequence sequence, EmulatedRank rank) {
        this.sequence = sequence;
        this.rank = rank;
        this.random = new SplittableRandom(sequence.seed);
        this.trail = new HostileTrail(sequence, rank);
        this.shape = sequence.shape;
        this.model = sequence.model;
        this.foreign = CudaDevice.of(rank.size() + rank.rank());
        CommunicatorOptions options = CommunicatorOptions.defaults().limit(LIMIT);
        communicator = Communicator.init(rank.bootstrap(), rank.device(), options);
        stream = CudaStream.create(rank.device());
        group = EpGroup.create(communicator, sequence.config);
        fill(options);
        addRoutingMemory();
        newLayer();
    }

    private void fill(CommunicatorOptions options) {
        DeviceMemory shared = communicator.allocate(65536);
        clear(shared);
        Window window = communicator.register(shared);
        for (Object object : List.of(communicator, communicator.collectives(), new Departure(true, "left"), stream,
                group, shared, window, rank.device(), foreign, options, CudaStream.create(rank.device()),
                CudaStream.create(foreign), CudaEvent.create(rank.device()), CudaEvent.createTiming(foreign),
                PinnedMemory.allocate(rank.device(), 4096), sequence.config,
                LayerKind.LL_EXPERT_MAJOR.config(LayerKind.LL_EXPERT_MAJOR.draw(rank.size(), sequence.seed)),
                window.slice(0, 4096), HandleConfig.defaults(), HandleConfig.defaults().alignment(4),
                DispatchConfig.defaults(), DispatchConfig.defaults().sendOnly(),
                DispatchConfig.defaults().recipe(DispatchRecipe.DS_FP8E3M4), CombineConfig.defaults(),
                CombineConfig.defaults().sendOnly(), CombineConfig.defaults().direction(PassDirection.BACKWARD),
                GraphKey.of(model.shape().maxTokens(), shape.layout()), GraphKey.of(1, shape.layout()),
                BootstrapOptions.defaults(),
                Bootstraps.inProcess(1, BootstrapOptions.defaults().limit(LIMIT)).getFirst(),
                EpGroupConfig.lowLatency(), EpGroupConfig.highThroughput(), LayoutInfo.empty(),
                EpHandlePool.builder(group), PiecewiseGraph.on(stream), EpSizing.of(sequence.config, rank.size()),
                BufferConfig.of(model.hidden(), LayerKind.type(model.format())),
                BufferConfig.of(512, DataType.BFLOAT16).blockScaledFp8(true), RankMask.all(rank.size()),
                rank.device().memoryInfo(), rank.device().priorityRange(), UniqueId.create(),
                new GraphCacheStatistics(1, 2, 3, 4, 5, 6), new NativeLibraryException("none", List.of("nowhere")),
                NcclException.of("none", NcclResult.INTERNAL_ERROR.code(), communicator), communicator.properties(),
                new Preflight.Fact("none", "none", null))) {
            pool.add(object);
        }
        CudaModule module = CudaModule.load(rank.device(), HostileKernel.IMAGE);
        CudaKernel kernel = module.kernel(HostileKernel.NAME);
        for (Object object : List.of(module, kernel, kernel.arguments(), kernel.arguments().setInt(1, 1), Dim3.of(1))) {
            pool.add(object);
        }
        for (CudaDevice device : List.of(rank.device(), rank.device(), foreign)) {
            DeviceMemory memory = DeviceMemory.allocate(device, 1 << 17);
            clear(memory);
            pool.add(memory);
        }
    }

    /** As a routing, all that is in it means no expert. */
    void clear(DeviceMemory memory) {
        memory.device().run(() -> {
            try (CudaStream own = CudaStream.create(memory.device())) {
                memory.fillAsync((byte) -1, own);
                own.await(LIMIT);
            }
        });
    }

    void addRoutingMemory() {
        // Not among the others: what is a routing holds nothing else.
        DeviceMemory memory = DeviceMemory.allocate(rank.device(), 8L * 2 * model.shape().maxTokens()
                * model.shape().ranks() * Math.max(model.shape().topK(), model.shape().experts()));
        routings.add(memory);
        clear(memory);
    }

    DeviceMemory anyRoutingMemory() {
        return routings.get(random.nextInt(routings.size()));
    }

    private void newLayer() {
        EpHandle handle = group.createHandle();
        pool.add(handle);
        MoeLayer made = new MoeLayer(handle, BufferConfig.of(model.hidden(), LayerKind.type(model.format())), stream);
        layer = made;
        pool.add(made.buffers());
        for (EpTensor tensor : List.of(made.buffers().routing(), made.buffers().tokens(), made.buffers().weights(),
                made.buffers().received(), made.buffers().expertOutputs(), made.buffers().combined())) {
            pool.add(tensor);
        }
    }

    EpGroup group() {
        return group;
    }

    /** The layer that works; a new one if somebody has closed what it needs. */
    MoeLayer layer() {
        MoeLayer present = layer;
        if (present != null && !present.buffers().isClosed() && !present.handle().isClosed()) {
            return present;
        }
        if (group.isClosed()) {
            group = EpGroup.create(communicator, sequence.config);
            pool.add(group);
        }
        captured = null;
        if (present != null) {
            present.close();
        }
        layer = null;
        newLayer();
        return layer();
    }

    /**
     * A step has failed after it has written the routing of a batch, and perhaps not dispatched it: until the next one
     * there is none, since a combine would wait for rows that nobody sends.
     */
    void forgetRouting() {
        MoeLayer present = layer;
        if (present == null || present.buffers().isClosed()) {
            return;
        }
        try {
            completeAll(group);
            present.buffers().routing().memory().fillAsync((byte) -1, stream);
        } catch (RuntimeException e) {
            trail.outcome("forget the routing", e, false);
        }
    }

    void closeLayer() {
        if (layer != null && !layer.buffers().isClosed()) {
            layer.close();
        }
    }

    /** A graph of the layer. */
    void keepGraph(CudaGraphExec exec, int tokens) {
        pool.add(exec);
        captured = exec;
        capturedTokens = tokens;
    }

    @Nullable
    CudaGraphExec graph() {
        return captured == null || captured.isClosed() ? null : captured;
    }

    /** T of the graph. */
    int graphTokens() {
        return capturedTokens;
    }

    /** Whether the ranks make the same calls. */
    boolean isInLockstep() {
        return lockstep;
    }

    /** From now on every rank is for itself. */
    void endLockstep() {
        lockstep = false;
    }

    /** Does the other halves of what is half done in a group. */
    void completeAll(EpGroup of) {
        pool.closeables().stream().filter(EpHandle.class::isInstance).map(EpHandle.class::cast)
                .filter(handle -> handle.group() == of).forEach(EpHandle::complete);
    }

    /**
     * Objects that something may have come to hold, so that they cannot be closed where they were made; random calls do
     * not find them.
     */
    <T extends AutoCloseable> T closeLate(T resource) {
        late.addFirst(resource);
        return resource;
    }

    /** Objects that are closed when nothing else is open any more. */
    <T extends AutoCloseable> T closeLast(T resource) {
        last.add(resource);
        return resource;
    }

    List<AutoCloseable> last() {
        return last;
    }

    /** Everything that is to be closed. */
    List<AutoCloseable> open() {
        List<AutoCloseable> open = new ArrayList<>(pool.closeables());
        if (layer != null) {
            open.addFirst(layer);
        }
        open.addAll(routings);
        open.addAll(late);
        return open;
    }
}
