package io.nccl4j.safety;

import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.UniqueId;
import io.nccl4j.safety.hostile.HostileKernel;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.Objects;

/** Everything that owns something native and can be made on a rank, by what makes it. */
enum Made {
    STREAM, EVENT, DEVICE_MEMORY, STREAM_ORDERED_MEMORY, PINNED_MEMORY, MODULE, //
    SHARED_MEMORY, COMMUNICATOR, SPLIT, WINDOW, GROUP, HANDLE, //
    UPDATED_HANDLE, BUFFERS, POOL, GRAPH, PIECEWISE_GRAPH;

    /** Makes one; collective where the thing is. */
    AutoCloseable make(MoeRank world, MoeLayer layer) {
        return switch (this) {
            case STREAM -> CudaStream.create(world.device());
            case EVENT -> CudaEvent.createTiming(world.device());
            case DEVICE_MEMORY -> DeviceMemory.allocate(world.device(), 1024);
            case STREAM_ORDERED_MEMORY -> DeviceMemory.allocateAsync(world.stream(), 1024);
            case PINNED_MEMORY -> PinnedMemory.allocate(world.device(), 1024);
            case MODULE -> CudaModule.load(world.device(), HostileKernel.IMAGE);
            case SHARED_MEMORY -> world.communicator().allocate(4096);
            case COMMUNICATOR -> Communicator.init(UniqueId.create(), 0, 1, world.device());
            case SPLIT -> Objects.requireNonNull(world.communicator().split(0, 0));
            case WINDOW -> {
                DeviceMemory memory = world.communicator().allocate(8192);
                try {
                    AutoCloseable window = world.communicator().register(memory);
                    yield () -> {
                        window.close();
                        memory.close();
                    };
                } catch (RuntimeException e) {
                    memory.close();
                    throw e;
                }
            }
            case GROUP -> EpGroup.create(world.communicator(), world.group().config());
            case HANDLE -> world.group().createHandle();
            case UPDATED_HANDLE -> {
                LayoutInfo info = LayerKind.of(layer.handle()).isLowLatency()
                        ? null
                        : LayoutInfo.of(layer.buffers().expertCounts());
                yield world.group().createHandle(layer.handle().layout(), layer.buffers().routing(), info,
                        HandleConfig.defaults(), world.stream());
            }
            case BUFFERS -> layer.handle().allocateBuffers(world.rows());
            case POOL -> EpHandlePool.builder(world.group()).slots(2).groupPerSlot().build(world.rows().hidden(),
                    world.rows().type());
            case GRAPH -> world.stream().capture(() -> layer.enqueue(1));
            case PIECEWISE_GRAPH -> PiecewiseGraph.on(world.stream())
                    .captured("dispatch", s -> layer.handle().dispatchAsync(layer.buffers(), 1, s))
                    .captured("experts", layer::experts)
                    .captured("combine", s -> layer.handle().combineAsync(layer.buffers(), s)).build();
        };
    }
}
