package io.nccl4j.safety;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CaptureMode;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorCall;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.RankMask;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.ReduceOp;
import io.nccl4j.nccl.Window;
import io.nccl4j.testing.EachLayerKind;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.LongFunction;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Every public method of everything that is owned, after close. */
@EmulatedRanks(1)
class UseAfterCloseTest {
    /** A closed object still tells its size, its device, its parent. */
    private static final Set<String> STILL_ANSWER = Set.of("close", "isClosed", "toString", "isOwned", "device",
            "byteSize", "rank", "size", "limit", "isUsable", "lost", "lostForCollectives", "lsaTeams", "collectives",
            "communicator", "memory", "config", "generation", "dispatchConfig", "combineConfig", "sizing", "group",
            "layout", "topK", "alignment", "tokens", "handle", "maxTokens", "isCapturing",
            // Does nothing outside of a capture.
            "retain",
            // Of memory; has no effect then.
            "abandon",
            // The exception for an error.
            "failed");

    @ParameterizedTest
    @EnumSource(value = LayerKind.class, names = {"LL_EXPERT_MAJOR", "HT_FLAT"})
    void nothingButWhatItIsCanBeAsked(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(1, 31), config -> shape.isLowLatency() ? config.mask() : config,
                (world, layer) -> {
                    try (Arena arena = Arena.ofConfined()) {
                        layer.handle().warmUp(layer.buffers(), 1, world.stream());
                        Map<Class<?>, Object> arguments = arguments(world, layer, arena);
                        for (NativeObject closed : closed(world)) {
                            check(closed, arguments);
                        }
                    }
                });
    }

    /** One of each class, closed. */
    private static List<NativeObject> closed(MoeRank world) {
        Communicator communicator = world.communicator().split(0, 0);
        EpGroup group = EpGroup.create(communicator, world.group().config());
        EpHandle handle = group.createHandle();
        EpBuffers buffers = handle.allocateBuffers(world.rows());
        EpHandlePool pool = EpHandlePool.builder(group).build(world.rows().hidden(), world.rows().type());
        DeviceMemory memory = communicator.allocate(4096);
        Window window = communicator.register(memory);
        CudaStream stream = CudaStream.create(world.device());
        CudaEvent event = CudaEvent.createTiming(world.device());
        CudaGraph graph = stream.capture(() -> memory.fillAsync((byte) 0, stream));
        CudaGraphExec exec = graph.instantiate();
        PinnedMemory pinned = PinnedMemory.allocate(world.device(), 64);
        List<NativeObject> all = List.of(exec, graph, event, stream, pinned, window, memory, pool, buffers, handle,
                group, communicator);
        all.forEach(NativeObject::close);
        return all;
    }

    private static Map<Class<?>, Object> arguments(MoeRank world, MoeLayer layer, Arena arena) {
        Map<Class<?>, Object> arguments = new HashMap<>();
        DeviceMemory memory = world.own(DeviceMemory.allocate(world.device(), 4096));
        EpTensor tensor = EpTensor.of(memory, DataType.INT64, 2, layer.handle().topK());
        CudaGraph graph = world.own(world.stream().capture(() -> memory.fillAsync((byte) -1, world.stream())));
        for (Object value : List.of("for the test", Duration.ofMillis(1), DataType.INT64, ReduceOp.SUM,
                CaptureMode.RELAXED, world.group().config().layout(), BufferConfig.of(64, DataType.BFLOAT16),
                HandleConfig.defaults(), LayoutInfo.of(tensor), DispatchConfig.defaults(), CombineConfig.defaults(),
                DispatchInputs.of(tensor), DispatchOutputs.of(tensor), CombineInputs.of(tensor),
                CombineOutputs.of(tensor), RankMask.all(1), tensor, layer.buffers(), memory,
                world.own(PinnedMemory.allocate(world.device(), 64)), world.stream(),
                world.own(CudaEvent.createTiming(world.device())), new byte[8], graph)) {
            arguments.put(value.getClass(), value);
        }
        arguments.put(long.class, 1L);
        arguments.put(int.class, 1);
        arguments.put(byte.class, (byte) 1);
        arguments.put(Runnable.class, (Runnable) () -> {
        });
        arguments.put(Supplier.class, (Supplier<String>) () -> "never called");
        arguments.put(LongFunction.class, (LongFunction<String>) value -> "never called");
        arguments.put(Path.class, Path.of("never-written.dot"));
        arguments.put(MemorySegment.class, arena.allocate(16));
        arguments.put(NativeObject.class, memory);
        return arguments;
    }

    private static void check(NativeObject closed, Map<Class<?>, Object> arguments) throws Exception {
        Set<String> answered = new TreeSet<>();
        int calls = 0;
        for (Method method : closed.getClass().getMethods()) {
            // Communicator.check throws the error that it is given.
            if (Modifier.isStatic(method.getModifiers()) || method.getDeclaringClass() == Object.class
                    || method.getName().equals("check")) {
                continue;
            }
            Object[] values = Arrays.stream(method.getParameterTypes()).map(type -> argument(type, method, arguments))
                    .toArray();
            Emulator.logCalls(100);
            Throwable thrown = call(closed, method, values);
            List<String> made = Emulator.calls().stream().map(EmulatorCall::function).toList();
            Emulator.logCalls(0);
            calls++;
            if (thrown == null) {
                answered.add(method.getName());
            } else {
                // Where an argument is at fault as well, that may be said instead.
                assertThat(thrown).as("%s after close", method).isInstanceOfAny(IllegalStateException.class,
                        IllegalArgumentException.class);
            }
            // The words for an error are asked of the library, not of the object.
            assertThat(made).as("native calls of %s after close", method).isSubsetOf("ncclGetErrorString",
                    "ncclGetLastError");
        }
        assertThat(calls).isPositive();
        assertThat(STILL_ANSWER).as("methods of a closed %s that answer", closed.getClass()).containsAll(answered);
    }

    private static Object argument(Class<?> type, Method method, Map<Class<?>, Object> arguments) {
        Object value = arguments.get(type);
        assertThat(value).as("an argument of type %s for %s", type, method).isNotNull();
        return value;
    }

    private static @Nullable Throwable call(NativeObject closed, Method method, Object[] values)
            throws IllegalAccessException {
        try {
            method.setAccessible(true);
            method.invoke(closed, values);
            return null;
        } catch (InvocationTargetException e) {
            return e.getCause();
        }
    }

    @EachLayerKind
    void whatRefersToClosedMemoryIsRefused(LayerKind shape, EmulatedCluster cluster) {
        MoeRank.run(cluster, shape, shape.draw(1, 32), (world, layer) -> {
            DeviceMemory memory = DeviceMemory.allocate(world.device(), 4096);
            EpTensor tensor = EpTensor.of(memory, DataType.INT64, 1, layer.handle().topK());
            List<Runnable> uses = new ArrayList<>(
                    List.of(() -> tensor.rows(0), tensor::address, () -> layer.handle().update(tensor, world.stream()),
                            () -> DispatchInputs.of(tensor), () -> CombineOutputs.of(tensor)));
            DispatchInputs inputs = DispatchInputs.of(tensor);
            DispatchOutputs outputs = DispatchOutputs.of(layer.buffers().received());
            uses.add(() -> layer.handle().dispatch(inputs, outputs, null, world.stream()));
            memory.close();
            for (Runnable use : uses) {
                assertThat(catchRuntime(use)).isInstanceOf(IllegalStateException.class);
            }
            assertThat(tensor.toString()).contains("(closed)");
            assertThat(inputs.toString()).contains("(closed)");
        });
    }

    private static @Nullable RuntimeException catchRuntime(Runnable body) {
        try {
            body.run();
            return null;
        } catch (RuntimeException e) {
            return e;
        }
    }
}
