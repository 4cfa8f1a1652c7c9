package io.nccl4j.safety.hostile;

import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.graph.CachedGraph;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.ep.graph.GraphCache;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.safety.TensorRows;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Steps of a MoE layer as they should be, amid all the mistakes, with their results compared; and steps with one
 * mistake in them.
 */
final class RightCalls {
    private static final RoutingKind[] KINDS = {RoutingKind.UNIFORM, RoutingKind.HOLES, RoutingKind.CONCENTRATED,
            RoutingKind.NOTHING};

    private final HostileScene scene;
    private final RandomCalls calls;

    RightCalls(HostileScene scene, RandomCalls calls) {
        this.scene = scene;
        this.calls = calls;
    }

    private EpCase batch() {
        return scene.model.redraw(KINDS[scene.random.nextInt(KINDS.length)], scene.random.nextLong());
    }

    private void verify(MoeLayer layer, EpCase batch) {
        scene.stream.await(HostileScene.LIMIT);
        if (scene.sequence.isFaulted()) {
            return;
        }
        try {
            layer.verify(batch);
        } catch (RuntimeException e) {
            throw scene.trail.failure("a wrong result", e);
        }
        scene.sequence.statistics.verified();
    }

    /** The same T on all ranks, so that what is refused because of it is refused on all. */
    private static int most(EpCase batch) {
        return Arrays.stream(batch.inputs().tokens()).mapToInt(tokens -> tokens.length).max().orElse(0);
    }

    void step() {
        MoeLayer layer = scene.layer();
        EpCase batch = batch();
        layer.load(batch);
        layer.enqueue(most(batch));
        verify(layer, batch);
    }

    /** Some captures fail half way. */
    void capture() {
        MoeLayer layer = scene.layer();
        boolean fails = scene.random.nextInt(4) == 0;
        int tokens = scene.random.nextInt(layer.buffers().maxTokens() + 1);
        try (CudaGraph graph = scene.stream.capture(() -> {
            layer.enqueue(tokens);
            if (fails) {
                throw new ArgumentSource.Broken();
            }
        })) {
            scene.pool.add(graph);
            scene.keepGraph(graph.instantiate(), tokens);
        }
    }

    void replay() {
        MoeLayer layer = scene.layer();
        CudaGraphExec exec = scene.graph();
        if (exec == null) {
            capture();
            return;
        }
        EpCase batch = batch();
        if (most(batch) > scene.graphTokens()) {
            return;
        }
        layer.load(batch);
        exec.launch(scene.stream);
        verify(layer, batch);
    }

    /** Send halves and their completion, with other calls between. */
    void staged() {
        MoeLayer layer = scene.layer();
        if (!scene.shape.isLowLatency()) {
            return;
        }
        EpCase batch = batch();
        layer.load(batch);
        layer.handle().dispatchAsync(layer.buffers(), most(batch), DispatchConfig.defaults().sendOnly(), scene.stream);
        if (scene.random.nextBoolean()) {
            calls.call("between the halves: ");
        }
        layer.handle().complete();
        layer.experts();
        layer.handle().combineAsync(layer.buffers(), CombineConfig.defaults().sendOnly(), scene.stream);
        if (scene.random.nextBoolean()) {
            calls.call("between the halves: ");
        }
        layer.handle().complete();
        scene.stream.await(HostileScene.LIMIT);
    }

    /** The calls of C one by one, half of the time with something wrong among the arguments. */
    void explicit() {
        EpBuffers buffers = scene.layer().buffers();
        long tokens = scene.random.nextInt(buffers.maxTokens() + 1);
        boolean zones = scene.shape == LayerKind.LL_EXPERT_MAJOR;
        Map<String, @Nullable Object> all = new HashMap<>();
        EpTensor routing = TensorRows.of(buffers.routing(), tokens);
        EpTensor rows = TensorRows.of(buffers.tokens(), tokens);
        EpTensor weights = TensorRows.of(buffers.weights(), tokens);
        routing.memory().fillAsync((byte) -1, scene.stream);
        all.put("outWeights", zones ? null : buffers.receivedWeights());
        all.put("outIndices", zones || scene.shape == LayerKind.HT_EXPERT_MAJOR ? null : buffers.receivedIndices());
        all.put("received", buffers.received());
        all.put("expertOutputs", buffers.expertOutputs());
        all.put("combined", TensorRows.of(buffers.combined(), tokens));
        if (scene.random.nextBoolean()) {
            String[] names = all.keySet().stream().sorted().toArray(String[]::new);
            all.put(names[scene.random.nextInt(names.length)], scene.pool.choose(EpTensor.class, scene.random));
        }
        LayoutInfo info = info(buffers);
        boolean atUpdate = !scene.shape.isLowLatency();
        var handle = buffers.handle();
        handle.update(routing, atUpdate ? info : null, scene.stream);
        DispatchInputs inputs = zones ? DispatchInputs.of(rows) : DispatchInputs.of(rows, weights);
        DispatchOutputs outputs = DispatchOutputs.of((EpTensor) all.get("received"), (EpTensor) all.get("outWeights"),
                (EpTensor) all.get("outIndices"));
        scene.pool.add(inputs);
        scene.pool.add(outputs);
        scene.pool.add(info);
        handle.dispatch(inputs, outputs, atUpdate ? null : info, scene.stream);
        CombineInputs combineInputs = CombineInputs.of((EpTensor) all.get("expertOutputs"));
        CombineOutputs combineOutputs = CombineOutputs.of((EpTensor) all.get("combined"), zones ? weights : null);
        scene.pool.add(combineInputs);
        scene.pool.add(combineOutputs);
        handle.combine(combineInputs, combineOutputs, scene.stream);
        scene.stream.await(HostileScene.LIMIT);
    }

    private LayoutInfo info(EpBuffers buffers) {
        return scene.shape == LayerKind.LL_RANK_MAJOR
                ? LayoutInfo.empty().sourceRankCounters(buffers.sourceRankCounts())
                : LayoutInfo.of(buffers.expertCounts());
    }

    void cache() {
        MoeLayer layer = scene.layer();
        try (GraphCache cache = GraphCache
                .create(scene.rank.bootstrap(), scene.stream, (key, on) -> layer.enqueue(key.tokens())).maxGraphs(2)) {
            scene.pool.add(cache);
            GraphKey key = GraphKey.of(layer.buffers().maxTokens(), scene.shape.layout());
            cache.capture(key, key.withTokens(Math.min(1, layer.buffers().maxTokens())));
            EpCase batch = batch();
            layer.load(batch);
            CachedGraph found = cache.find(key, layer.buffers().maxTokens());
            scene.pool.add(found);
            found.launch(scene.stream);
            verify(layer, batch);
        }
    }

    void handlePool() {
        scene.layer();
        try (EpHandlePool pool = EpHandlePool.builder(scene.group()).slots(1 + scene.random.nextInt(2))
                .build(scene.model.hidden(), LayerKind.type(scene.model.format()))) {
            // If it cannot be closed here, because of what is called meanwhile.
            scene.pool.add(pool);
            try (EpHandlePool.Slot slot = pool.acquire()) {
                scene.pool.add(slot);
                EpBuffers buffers = slot.buffers();
                slot.handle().warmUp(buffers, 1, scene.stream);
                calls.call("while a slot is in use: ");
            }
        }
    }
}
