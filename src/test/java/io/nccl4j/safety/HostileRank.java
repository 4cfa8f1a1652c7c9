package io.nccl4j.safety;

import io.nccl4j.NativeCallException;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpHandlePool;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.GraphCache;
import io.nccl4j.ep.GraphKey;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.internal.NativeResource;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.RoutingKind;
import java.lang.foreign.Arena;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * A rank of a hostile sequence. All ranks draw the same numbers, so that they make the same calls with corresponding objects: then
 * nothing makes a rank wait for another for ever, whatever the call. What comes of a call is compared between the ranks.
 */
final class HostileRank {
    private static final Duration LIMIT = Duration.ofSeconds(20);
    private static final int MOST_OPEN = 5;
    private static final int KEPT = 25;
    /** What comes of these depends on time. */
    private static final Set<String> TIMED = Set.of("isIdle", "isComplete", "elapsedMillisSince", "await",
            "synchronize",
            "waitEvent", "memoryInfo", "recapture");
    private static final Set<String> MAKERS = Set.of("allocate", "allocateAsync", "slice");

    private final HostileSequence sequence;
    private final EmulatedRank rank;
    private final SplittableRandom random;
    private final ObjectPool pool = new ObjectPool();
    private final Deque<String> trail = new ArrayDeque<>();
    private final List<DeviceMemory> routings = new ArrayList<>();
    private final EpCase model;
    private final LayerShape shape;
    private final Arena arena;
    private ArgumentSource arguments;
    private Communicator communicator;
    private CudaStream stream;
    private EpGroup group;
    private @Nullable Layer layer;
    private @Nullable CudaGraphExec captured;
    private int capturedTokens;
    private int depth;
    private boolean lockstep = true;

    HostileRank(HostileSequence sequence, EmulatedRank rank, Arena arena) {
        this.sequence = sequence;
        this.rank = rank;
        this.random = new SplittableRandom(sequence.seed());
        this.shape = sequence.shape();
        this.model = sequence.model();
        this.arena = arena;
    }

    /** The whole sequence on this rank. */
    void run() {
        setUp();
        boolean inStep = true;
        for (int action = 0; action < sequence.actions() && inStep; action++) {
            sequence.statistics().action();
            if (action == sequence.faultAt()) {
                rank.bootstrap().barrier();
                if (rank.rank() == 0) {
                    sequence.injectFault();
                }
                rank.bootstrap().barrier();
            }
            String outcome = act();
            observe();
            inStep = agree(action, outcome);
        }
        if (!inStep) {
            lockstep = false;
            aftermath();
        }
        tearDown(inStep);
    }

    private void setUp() {
        CommunicatorOptions options = CommunicatorOptions.defaults().limit(LIMIT);
        communicator = Communicator.init(rank.bootstrap(), rank.device(), options);
        stream = CudaStream.create(rank.device());
        group = EpGroup.create(communicator, sequence.config());
        CudaDevice foreign = CudaDevice.of(rank.size() + rank.rank());
        TrackingAllocator allocator = new TrackingAllocator(rank.device(), random.nextInt(4) == 0);
        arguments = new ArgumentSource(random, pool, model, stream, rank.bootstrap(), arena, allocator, this::body);
        DeviceMemory shared = communicator.allocate(65536);
        clear(shared);
        Window window = communicator.register(shared);
        for (Object object : List.of(communicator, stream, group, shared, window, rank.device(), foreign, options,
                CudaStream.create(rank.device()), CudaStream.create(foreign), CudaEvent.create(rank.device()),
                CudaEvent.createTiming(foreign), PinnedMemory.allocate(rank.device(), 4096), sequence.config(),
                LayerShape.LL_EXPERT_MAJOR.config(LayerShape.LL_EXPERT_MAJOR.draw(rank.size(), sequence.seed()))
                        .build(),
                window.slice(0, 4096), HandleConfig.defaults(), HandleConfig.defaults().alignment(4),
                DispatchConfig.defaults(),
                DispatchConfig.defaults().sendOnly(), DispatchConfig.defaults().recipe(DispatchRecipe.DS_FP8E3M4),
                CombineConfig.defaults(), CombineConfig.defaults().sendOnly(),
                CombineConfig.defaults().direction(PassDirection.BACKWARD),
                GraphKey.of(model.shape().maxTokens(), shape.layout), GraphKey.of(1, shape.layout))) {
            pool.add(object);
        }
        for (CudaDevice device : List.of(rank.device(), rank.device(), foreign)) {
            DeviceMemory memory = DeviceMemory.allocate(device, 1 << 17);
            clear(memory);
            pool.add(memory);
        }
        routingMemory();
        newLayer();
    }

    /** As a routing, all that is in it means no expert. */
    private void clear(DeviceMemory memory) {
        memory.device().run(() -> {
            try (CudaStream own = CudaStream.create(memory.device())) {
                memory.fillAsync((byte) -1, own);
                own.await(LIMIT);
            }
        });
    }

    private void routingMemory() {
        DeviceMemory memory = DeviceMemory.allocate(rank.device(),
                8L * 2 * model.shape().maxTokens() * model.shape().ranks()
                        * Math.max(model.shape().topK(), model.shape().experts()));
        clear(memory);
        routings.add(memory);
    }

    private void newLayer() {
        EpHandle handle = group.createHandle();
        pool.add(handle);
        layer = new Layer(handle, shape, model);
        pool.add(layer.buffers);
        for (EpTensor tensor : List.of(layer.buffers.routing(), layer.buffers.tokens(), layer.buffers.weights(),
                layer.buffers.received(), layer.buffers.expertOutputs(), layer.buffers.combined())) {
            pool.add(tensor);
        }
    }

    /** One action; what came of it. */
    private String act() {
        int chosen = random.nextInt(100);
        if (chosen < 55) {
            return call("");
        } else if (chosen < 60) {
            return callOnAnotherThread();
        } else if (chosen < 68) {
            return scripted("step", this::step);
        } else if (chosen < 73) {
            return scripted("capture", this::capture);
        } else if (chosen < 80) {
            return scripted("replay", this::replay);
        } else if (chosen < 84) {
            return scripted("staged", this::staged);
        } else if (chosen < 87) {
            return scripted("explicit", this::explicit);
        } else if (chosen < 89) {
            return scripted("ring", this::ring);
        } else if (chosen < 91) {
            return scripted("foreign", this::foreign);
        } else if (chosen < 93) {
            return scripted("cache", this::cache);
        } else if (chosen < 95) {
            return scripted("pool", this::handlePool);
        } else if (chosen < 98) {
            return scripted("close", this::closeSomething);
        }
        return scripted("renew", this::renew);
    }

    /** A device is lost by a fault or not at all, and misuse does not come that far. */
    private void observe() {
        sequence.checkMisuse(trail);
        if (rank.device().observe() != null && !sequence.isFaulted()) {
            throw sequence.failure(-1, trail,
                    "the device was lost without a fault: " + Emulator.errorText(rank.device()), null);
        }
    }

    /** Whether all ranks came to the same; false if a fault has made them differ. */
    private boolean agree(int action, String outcome) {
        List<String> all = new ArrayList<>();
        try {
            for (byte[] told : rank.bootstrap().allGather(outcome.getBytes(StandardCharsets.UTF_8))) {
                all.add(new String(told, StandardCharsets.UTF_8));
            }
        } catch (RuntimeException e) {
            if (sequence.isFaulted()) {
                return false;
            }
            throw sequence.failure(action, trail, "rank " + rank.rank() + " lost the others", e);
        }
        boolean same = all.stream().distinct().count() == 1;
        if (!same && !sequence.isFaulted()) {
            throw sequence.failure(action, trail, "the ranks differ: " + all, null);
        }
        return same && !sequence.isBroken();
    }

    private String scripted(String name, Runnable body) {
        note(name);
        try {
            group.bindToCurrentThread();
            // What a half reads again must not change before it is done: contents are their owner's concern.
            completeAll(group);
            body.run();
            return "ok";
        } catch (RuntimeException e) {
            return outcome(name, e, false);
        }
    }

    private void note(String text) {
        trail.addLast(text);
        if (trail.size() > KEPT) {
            trail.removeFirst();
        }
        if (sequence.verbose()) {
            System.out.println("rank " + rank.rank() + (depth > 0 ? "  ".repeat(depth) : "") + " " + text);
        }
    }

    /** Names what was thrown if it is documented, else ends the sequence. */
    private String outcome(String what, Throwable thrown, boolean nullGiven) {
        note("    " + brief(thrown));
        Throwable e = thrown;
        if (e instanceof HostileFailure failure) {
            throw failure;
        }
        if (e instanceof NativeCallException call) {
            if (sequence.isFaulted()) {
                sequence.breakWaits(call);
            } else {
                sequence.statistics().nativeError(call.function().replaceAll("\\(.*", "") + " " + call.code());
                observe();
                if (call.function().startsWith("ncclEp")) {
                    throw sequence.failure(-1, trail, "the library has refused what no rule has", e);
                }
            }
            return "native error";
        }
        if (e instanceof WaitTimeoutException) {
            if (sequence.isFaulted()) {
                sequence.breakWaits(e);
                return "wait";
            }
            if (e.getMessage().contains(" 20000 ms")) {
                throw sequence.failure(-1, trail, what + " has waited for ever", e);
            }
            return "timed";
        }
        boolean documented = e instanceof IllegalArgumentException || e instanceof IllegalStateException
                || e instanceof UnsupportedOperationException || e instanceof ArgumentSource.Broken
                || nullGiven && e instanceof NullPointerException
                // Of the JDK's segments.
                || what.contains("Float16.") && e instanceof IndexOutOfBoundsException;
        if (!documented) {
            throw sequence.failure(-1, trail, what + " threw what is not documented", e);
        }
        if (sequence.isFaulted() && e instanceof IllegalStateException) {
            // On a communicator that a fault has ended, or of a rank that has left.
            return "refused";
        }
        return e instanceof ArgumentSource.Broken || String.valueOf(e.getMessage()).contains("host function")
                ? "timed"
                : "refused";
    }

    private static String brief(Throwable e) {
        String text = String.valueOf(e.getMessage());
        return e.getClass().getSimpleName() + ": " + (text.length() > 200 ? text.substring(0, 200) : text);
    }

    // ---- calls of anything with anything

    private String call(String prefix) {
        List<Class<?>> classes = sequence.surface().classes();
        for (int attempt = 0; attempt < 20; attempt++) {
            List<Method> methods = sequence.surface().of(classes.get(random.nextInt(classes.size())));
            if (methods.isEmpty()) {
                continue;
            }
            Method method = methods.get(random.nextInt(methods.size()));
            Object target = null;
            if (!Modifier.isStatic(method.getModifiers())) {
                target = pool.chooseAny(method.getDeclaringClass(), random);
                if (target == null) {
                    continue;
                }
            }
            if (!isWise(method)) {
                continue;
            }
            return call(prefix, target, method);
        }
        return "ok";
    }

    /** Not more of a kind than memory has room for; and nothing collective beside the others once they are out of step. */
    private boolean isWise(Method method) {
        Class<?> made = method.getReturnType();
        if (NativeResource.class.isAssignableFrom(made) && pool.open(made) >= MOST_OPEN
                && (MAKERS.contains(method.getName()) || made != DeviceMemory.class)) {
            return false;
        }
        return lockstep || !HostileSequence.COLLECTIVE.contains(method.getDeclaringClass().getSimpleName() + "."
                + method.getName());
    }

    private String call(String prefix, @Nullable Object target, Method method) {
        Object[] values = values(method, target);
        boolean nullGiven = Arrays.stream(values).anyMatch(value -> value == null);
        String name = ApiSurface.name(method);
        note(prefix + describe(target) + name + " " + describe(values));
        String outcome;
        try {
            Object result = method.invoke(target, values);
            if (!nullGiven || result instanceof AutoCloseable) {
                keep(method, result);
            }
            outcome = "ok";
        } catch (InvocationTargetException e) {
            outcome = outcome(name, e.getCause(), nullGiven);
        } catch (IllegalAccessException e) {
            throw sequence.failure(-1, trail, name, e);
        }
        sequence.statistics().call(name, outcome);
        return TIMED.contains(method.getName()) ? "timed" : outcome;
    }

    private @Nullable Object[] values(Method method, @Nullable Object target) {
        Class<?>[] types = method.getParameterTypes();
        @Nullable
        Object[] values = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            values[i] = arguments.value(types[i], method);
            if (values[i] == null && types[i].isPrimitive()) {
                throw new IllegalStateException("no value of " + types[i]);
            }
        }
        if (method.getDeclaringClass() == EpTensor.class && Modifier.isStatic(method.getModifiers())) {
            separateRoutings(values);
        }
        return values;
    }

    /** What dispatch reads as a routing holds nothing else: the contents of memory are their owner's concern. */
    private void separateRoutings(@Nullable Object[] values) {
        if (values[1] instanceof DataType type && values[2] instanceof long[] extents
                && ArgumentSource.isRouting(type, extents)) {
            if (values[0] instanceof DeviceMemory) {
                values[0] = routings.get(random.nextInt(routings.size()));
            } else {
                values[1] = DataType.BFLOAT16;
            }
        }
    }

    private void keep(Method method, @Nullable Object result) {
        if (result == null || result.getClass().isPrimitive() || result instanceof Number || result instanceof Boolean
                || result instanceof String || result.getClass().isArray() || result instanceof Enum
                // Which is not the same to every rank.
                || result instanceof CudaDevice) {
            return;
        }
        if (result instanceof DeviceMemory memory) {
            if (!MAKERS.contains(method.getName())) {
                return;
            }
            if (memory.isOwned() && lockstep && !isCapturing()) {
                clear(memory);
            }
        }
        pool.add(result);
    }

    private boolean isCapturing() {
        return io.nccl4j.internal.CaptureScope.isOpen();
    }

    private static String describe(@Nullable Object target) {
        return target == null ? "" : target + " . ";
    }

    private static String describe(@Nullable Object[] values) {
        StringBuilder text = new StringBuilder();
        for (Object value : values) {
            String one = value instanceof long[] extents ? Arrays.toString(extents) : String.valueOf(value);
            text.append(' ').append(one.length() > 60 ? one.substring(0, 60) : one);
        }
        return text.toString();
    }

    private String callOnAnotherThread() {
        AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
        AtomicReference<String> result = new AtomicReference<>("none");
        CudaDevice current = random.nextInt(4) == 0 ? CudaDevice.of(rank.size() + rank.rank()) : rank.device();
        Runnable body = () -> {
            try {
                current.makeCurrent();
                result.set(call("on another thread: "));
            } catch (Throwable e) {
                failure.set(e);
            }
        };
        Thread thread = random.nextInt(4) == 0
                ? Thread.ofVirtual().unstarted(body)
                : Thread.ofPlatform().unstarted(body);
        thread.start();
        try {
            if (!thread.join(Duration.ofSeconds(40))) {
                throw sequence.failure(-1, trail, "a call on another thread does not end", null);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw sequence.failure(-1, trail, "interrupted", e);
        }
        if (failure.get() instanceof HostileFailure found) {
            throw found;
        } else if (failure.get() != null) {
            throw sequence.failure(-1, trail, "on another thread", failure.get());
        }
        return result.get();
    }

    /** What a callback does: nothing, throw, or more calls. */
    private Runnable body() {
        int kind = random.nextInt(4);
        return () -> {
            if (kind == 0 || depth > 1) {
                return;
            }
            if (kind == 1) {
                throw new ArgumentSource.Broken();
            }
            depth++;
            try {
                for (int i = 0; i < kind; i++) {
                    call("");
                }
            } finally {
                depth--;
            }
        };
    }

    // ---- calls in the right order, with results

    private Layer layer() {
        Layer present = layer;
        if (present == null || present.buffers.isClosed() || present.handle.isClosed()) {
            if (group.isClosed()) {
                group = EpGroup.create(communicator, sequence.config());
                pool.add(group);
            }
            captured = null;
            if (present != null) {
                present.close();
            }
            layer = null;
            newLayer();
            present = layer;
        }
        return java.util.Objects.requireNonNull(present);
    }

    private EpCase batch() {
        RoutingKind[] kinds = {RoutingKind.UNIFORM, RoutingKind.HOLES, RoutingKind.CONCENTRATED, RoutingKind.NOTHING};
        return model.redraw(kinds[random.nextInt(kinds.length)], random.nextLong());
    }

    private void verify(Layer of, EpCase batch) {
        stream.await(LIMIT);
        if (sequence.isFaulted()) {
            return;
        }
        try {
            of.verify(batch);
        } catch (RuntimeException e) {
            throw sequence.failure(-1, trail, "a wrong result", e);
        }
        sequence.statistics().verified();
    }

    private void step() {
        Layer of = layer();
        EpCase batch = batch();
        of.load(batch, stream);
        of.enqueue(most(batch), stream);
        verify(of, batch);
    }

    private void capture() {
        Layer of = layer();
        boolean fails = random.nextInt(4) == 0;
        int tokens = random.nextInt(of.buffers.maxTokens() + 1);
        try (CudaGraph graph = stream.capture(() -> {
            of.enqueue(tokens, stream);
            if (fails) {
                throw new ArgumentSource.Broken();
            }
        })) {
            CudaGraphExec exec = graph.instantiate();
            pool.add(exec);
            captured = exec;
            capturedTokens = tokens;
        }
    }

    private void replay() {
        Layer of = layer();
        CudaGraphExec exec = captured;
        if (exec == null || exec.isClosed()) {
            capture();
            return;
        }
        EpCase batch = batch();
        if (most(batch) > capturedTokens) {
            return;
        }
        of.load(batch, stream);
        exec.launch(stream);
        verify(of, batch);
    }

    /** The same T on all ranks, so that what is refused because of it is refused on all. */
    private static int most(EpCase batch) {
        return Arrays.stream(batch.inputs().tokens()).mapToInt(tokens -> tokens.length).max().orElse(0);
    }

    private void staged() {
        Layer of = layer();
        if (!shape.isLowLatency()) {
            return;
        }
        EpCase batch = batch();
        of.load(batch, stream);
        of.handle.dispatchAsync(of.buffers, most(batch), DispatchConfig.defaults().sendOnly(), stream);
        if (random.nextBoolean()) {
            call("between the halves: ");
        }
        of.handle.complete();
        of.experts(stream);
        of.handle.combineAsync(of.buffers, CombineConfig.defaults().sendOnly(), stream);
        if (random.nextBoolean()) {
            call("between the halves: ");
        }
        of.handle.complete();
        stream.await(LIMIT);
    }

    /** The calls of C one by one, half of the time with something wrong among the arguments. */
    private void explicit() {
        Layer of = layer();
        long tokens = random.nextInt(of.buffers.maxTokens() + 1);
        boolean zones = shape == LayerShape.LL_EXPERT_MAJOR;
        Map<String, @Nullable Object> all = new HashMap<>();
        EpTensor routing = of.buffers.routing().rows(tokens);
        EpTensor rows = of.buffers.tokens().rows(tokens);
        EpTensor weights = of.buffers.weights().rows(tokens);
        routing.memory().fillAsync((byte) -1, stream);
        EpTensor info = shape == LayerShape.LL_RANK_MAJOR ? of.buffers.sourceRankCounts() : of.buffers.expertCounts();
        LayoutInfo.Builder counters = LayoutInfo.builder();
        LayoutInfo layoutInfo = (shape == LayerShape.LL_RANK_MAJOR
                ? counters.sourceRankCounters(info)
                : counters.expertCounters(info)).build();
        all.put("outWeights", zones ? null : of.buffers.receivedWeights());
        all.put("outIndices", zones || shape == LayerShape.HT_EXPERT_MAJOR ? null : of.buffers.receivedIndices());
        all.put("received", of.buffers.received());
        all.put("expertOutputs", of.buffers.expertOutputs());
        all.put("combined", of.buffers.combined().rows(tokens));
        if (random.nextBoolean()) {
            String[] names = all.keySet().stream().sorted().toArray(String[]::new);
            all.put(names[random.nextInt(names.length)], pool.choose(EpTensor.class, random));
        }
        of.handle.update(routing, shape.isLowLatency() ? null : layoutInfo, stream);
        var inputs = zones ? io.nccl4j.ep.DispatchInputs.of(rows) : io.nccl4j.ep.DispatchInputs.of(rows, weights);
        var outputs = io.nccl4j.ep.DispatchOutputs.of((EpTensor) all.get("received"), (EpTensor) all.get("outWeights"),
                (EpTensor) all.get("outIndices"));
        pool.add(inputs);
        pool.add(outputs);
        pool.add(layoutInfo);
        of.handle.dispatch(inputs, outputs, shape.isLowLatency() ? layoutInfo : null, stream);
        var combineInputs = io.nccl4j.ep.CombineInputs.of((EpTensor) all.get("expertOutputs"));
        var combineOutputs = io.nccl4j.ep.CombineOutputs.of((EpTensor) all.get("combined"), zones ? weights : null);
        pool.add(combineInputs);
        pool.add(combineOutputs);
        of.handle.combine(combineInputs, combineOutputs, stream);
        stream.await(LIMIT);
    }

    private void ring() {
        DeviceMemory memory = (DeviceMemory) pool.choose(DeviceMemory.class, random);
        if (memory == null) {
            return;
        }
        int next = (rank.rank() + 1) % rank.size();
        int last = (rank.rank() + rank.size() - 1) % rank.size();
        Communicator.group(() -> {
            communicator.send(memory, 0, 16, DataType.INT32, next, stream);
            communicator.receive(memory, 128, 16, DataType.INT32, last, stream);
        });
        stream.await(LIMIT);
    }

    /** Things of other owners, which keep their promise. */
    private void foreign() {
        try (DeviceMemory theirs = DeviceMemory.allocate(rank.device(), 4096);
                DeviceMemory wrapped = DeviceMemory.wrap(theirs.address(), 4096, rank.device());
                DeviceMemory part = wrapped.slice(64, 128);
                CudaStream borrowedStream = CudaStream.wrap(stream.address(), rank.device());
                Communicator borrowed = Communicator.borrow(communicator.address(), rank.device())) {
            part.fillAsync((byte) -1, borrowedStream);
            pool.add(EpTensor.of(wrapped, DataType.FLOAT32, 4));
            borrowed.checkUsable();
            call("with foreign things: ");
            borrowedStream.await(LIMIT);
        }
    }

    private void cache() {
        Layer of = layer();
        try (GraphCache cache = GraphCache.create(rank.bootstrap(), stream, (key, on) -> of.enqueue(key.tokens(), on))
                .maxGraphs(2)) {
            GraphKey key = GraphKey.of(of.buffers.maxTokens(), shape.layout);
            cache.capture(key, key.withTokens(Math.min(1, of.buffers.maxTokens())));
            EpCase batch = batch();
            of.load(batch, stream);
            cache.find(key, of.buffers.maxTokens()).launch(stream);
            verify(of, batch);
        }
    }

    private void handlePool() {
        layer();
        try (EpHandlePool lent = EpHandlePool.builder(group).slots(1 + random.nextInt(2)).build(model.hidden(),
                LayerShape.type(model))) {
            try (EpHandlePool.Slot slot = lent.lend()) {
                EpBuffers buffers = slot.buffers();
                slot.handle().warmUp(buffers, 1, stream);
                call("while a slot is lent: ");
            }
        }
    }

    private void closeSomething() {
        Object victim = pool.chooseAny(NativeResource.class, random);
        if (victim instanceof NativeResource resource && resource != communicator && resource != stream) {
            note("close " + resource);
            resource.close();
        }
    }

    private void renew() {
        switch (random.nextInt(3)) {
            case 0 -> routingMemory();
            case 1 -> {
                Layer of = layer;
                if (of != null && !of.buffers.isClosed()) {
                    of.close();
                }
            }
            default -> {
                DeviceMemory memory = routings.get(random.nextInt(routings.size()));
                if (!memory.isClosed()) {
                    memory.close();
                }
            }
        }
    }

    // ---- the end

    /** Out of step: each rank for itself, with what is left. */
    private void aftermath() {
        SplittableRandom own = new SplittableRandom(sequence.seed() + 1 + rank.rank());
        int calls = 10 + own.nextInt(20);
        for (int i = 0; i < calls; i++) {
            call("afterwards: ");
        }
    }

    /** Closes everything, in as many rounds as the ownership tree is deep. */
    private void tearDown(boolean inStep) {
        List<RuntimeException> refusals = new ArrayList<>();
        List<AutoCloseable> open = new ArrayList<>(pool.closeables());
        if (layer != null) {
            open.addFirst(layer);
        }
        open.addAll(routings);
        pool.closeables().stream().filter(EpGroup.class::isInstance).map(EpGroup.class::cast)
                .forEach(this::prepareToClose);
        int before = -1;
        while (!open.isEmpty() && open.size() != before) {
            before = open.size();
            refusals.clear();
            open.removeIf(resource -> isGone(resource, refusals));
        }
        if (!open.isEmpty()) {
            throw sequence.failure(-1, trail, "cannot be closed: " + open, refusals.getFirst());
        }
    }

    private void prepareToClose(EpGroup bound) {
        try {
            if (!bound.isClosed()) {
                bound.bindToCurrentThread();
            }
            completeAll(bound);
        } catch (RuntimeException e) {
            outcome("complete before the end", e, false);
        }
    }

    private void completeAll(EpGroup of) {
        pool.closeables().stream().filter(EpHandle.class::isInstance).map(EpHandle.class::cast)
                .filter(handle -> handle.group() == of).forEach(EpHandle::complete);
    }

    private boolean isGone(AutoCloseable resource, List<RuntimeException> refusals) {
        try {
            resource.close();
            return true;
        } catch (IllegalStateException e) {
            refusals.add(e);
            return resource instanceof NativeResource closed && closed.isClosed();
        } catch (Exception e) {
            outcome("close of " + resource, e, false);
            return true;
        }
    }
}
