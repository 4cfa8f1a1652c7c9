package io.nccl4j.safety;

import io.nccl4j.NativeLibraries;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.CachedGraph;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGeneration;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpHandlePool;
import io.nccl4j.ep.EpSizing;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Float16;
import io.nccl4j.ep.GraphCache;
import io.nccl4j.ep.GraphKey;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.RankMask;
import io.nccl4j.internal.NativeResource;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.UniqueId;
import io.nccl4j.nccl.Window;
import io.nccl4j.nccl.WindowSlice;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** The public methods that {@link HostileUse} calls, in an order that does not depend on the VM. */
final class ApiSurface {
    private static final List<Class<?>> CLASSES = List.of(NativeLibraries.class, CudaDevice.class, CudaStream.class,
            CudaEvent.class, CudaGraph.class, CudaGraphExec.class, DeviceMemory.class, PinnedMemory.class,
            PiecewiseGraph.class, PiecewiseGraph.Builder.class, Communicator.class, CommunicatorOptions.class,
            DataType.class, UniqueId.class, Window.class, WindowSlice.class, EpGroup.class, EpGroupConfig.class,
            EpGroupConfig.Builder.class, EpHandle.class, EpHandlePool.class, EpHandlePool.Builder.class,
            EpHandlePool.Slot.class, EpBuffers.class, EpTensor.class, EpSizing.class, EpGeneration.class,
            LayoutInfo.class,
            LayoutInfo.Builder.class, DispatchInputs.class, DispatchOutputs.class, CombineInputs.class,
            CombineOutputs.class, DispatchConfig.class, CombineConfig.class, HandleConfig.class, RankMask.class,
            GraphCache.class, GraphKey.class, CachedGraph.class, BFloat16.class, Float16.class);

    /**
     * Not called with random arguments. Promises that only the caller can keep: addresses of others ({@code wrap}, {@code adopt},
     * {@code borrow}, native allocator functions). What one rank cannot do alone and all cannot do alike: {@code send}, {@code receive},
     * {@code Communicator.init} with a rank of one's own. What ends everything, and comes last: {@code abort}, {@code abandon},
     * {@code reset}. Plumbing between the packages: the rest.
     */
    private static final Set<String> EXCLUDED = Set.of("DeviceMemory.wrap", "DeviceMemory.adopt", "CudaStream.wrap",
            "Communicator.borrow", "Communicator.send", "Communicator.receive", "Communicator.init", "UniqueId.create",
            "Communicator.abort", "Communicator.abandon", "CudaDevice.reset", "DeviceMemory.abandon",
            "Communicator.callCollectively", "Communicator.failed", "DeviceMemory.whenClosed",
            "DeviceMemory.descriptors",
            "Communicator.finalizeWork");

    private final Map<Class<?>, List<Method>> byClass = new LinkedHashMap<>();
    private final List<Method> all = new ArrayList<>();

    ApiSurface() {
        for (Class<?> type : CLASSES) {
            List<Method> methods = new ArrayList<>();
            for (Method method : type.getMethods()) {
                boolean excluded = method.getDeclaringClass() == Object.class || method.isSynthetic()
                        || method.getDeclaringClass() == Enum.class || method.getDeclaringClass() == Record.class
                        || EXCLUDED.contains(type.getSimpleName() + "." + method.getName())
                        || Modifier.isStatic(method.getModifiers())
                                && method.getDeclaringClass() == NativeResource.class
                        || method.getName().equals("allocator") && method.getParameterCount() == 3;
                if (!excluded) {
                    method.setAccessible(true);
                    methods.add(method);
                }
            }
            methods.sort(Comparator.comparing(Method::getName).thenComparing(method -> method.toGenericString()));
            byClass.put(type, methods);
            all.addAll(methods);
        }
    }

    List<Class<?>> classes() {
        return CLASSES;
    }

    List<Method> of(Class<?> type) {
        return byClass.get(type);
    }

    int size() {
        return (int) all.stream().map(ApiSurface::name).distinct().count();
    }

    List<String> names() {
        return all.stream().map(ApiSurface::name).distinct().toList();
    }

    /** Class, method and parameter types, short. */
    static String name(Method method) {
        StringBuilder text = new StringBuilder(method.getDeclaringClass().getSimpleName()).append('.')
                .append(method.getName()).append('(');
        String separator = "";
        for (Class<?> type : method.getParameterTypes()) {
            text.append(separator).append(type.getSimpleName());
            separator = ",";
        }
        return text.append(')').toString();
    }
}
