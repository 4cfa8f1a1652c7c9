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
import io.nccl4j.testing.MoeLayer;
import io.nccl4j.testing.MoeRank;
import java.util.Objects;

/** Everything that owns something native and can be made on a rank, by what makes it. */
enum Made {
    STREAM {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return CudaStream.create(world.device());
        }
    },
    EVENT {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return CudaEvent.createTiming(world.device());
        }
    },
    DEVICE_MEMORY {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return DeviceMemory.allocate(world.device(), 1024);
        }
    },
    STREAM_ORDERED_MEMORY {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return DeviceMemory.allocateAsync(world.stream(), 1024);
        }
    },
    PINNED_MEMORY {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return PinnedMemory.allocate(world.device(), 1024);
        }
    },
    MODULE {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return CudaModule.load(world.device(), HostileKernel.IMAGE);
        }
    },
    SHARED_MEMORY {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return world.communicator().allocate(4096);
        }
    },
    COMMUNICATOR {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return Communicator.init(UniqueId.create(), 0, 1, world.device());
        }
    },
    SPLIT {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return Objects.requireNonNull(world.communicator().split(0, 0));
        }
    },
    WINDOW {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            DeviceMemory memory = world.communicator().allocate(8192);
            try {
                AutoCloseable window = world.communicator().register(memory);
                return () -> {
                    window.close();
                    memory.close();
                };
            } catch (RuntimeException e) {
                memory.close();
                throw e;
            }
        }
    },
    GROUP {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return EpGroup.create(world.communicator(), world.group().config());
        }
    },
    HANDLE {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return world.group().createHandle();
        }
    },
    UPDATED_HANDLE {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            LayoutInfo info = world.kind().isLowLatency() ? null : LayoutInfo.of(layer.buffers().expertCounts());
            return world.group().createHandle(world.kind().layout(), layer.buffers().routing(), info,
                    HandleConfig.defaults(), world.stream());
        }
    },
    BUFFERS {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return layer.handle().allocateBuffers(world.rows());
        }
    },
    POOL {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return EpHandlePool.builder(world.group()).slots(2).groupPerSlot().build(world.rows().hidden(),
                    world.rows().type());
        }
    },
    GRAPH {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return world.stream().capture(() -> layer.enqueue(1, world.stream()));
        }
    },
    PIECEWISE_GRAPH {
        @Override
        AutoCloseable make(MoeRank world, MoeLayer layer) {
            return PiecewiseGraph.on(world.stream())
                    .captured("dispatch", s -> layer.handle().dispatchAsync(layer.buffers(), 1, s))
                    .captured("experts", layer::experts)
                    .captured("combine", s -> layer.handle().combineAsync(layer.buffers(), s)).build();
        }
    };

    abstract AutoCloseable make(MoeRank world, MoeLayer layer);
}
