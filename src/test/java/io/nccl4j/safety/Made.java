package io.nccl4j.safety;

import io.nccl4j.cuda.CudaEvent;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.ep.graph.EpHandlePool;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.UniqueId;
import java.util.Objects;

/** Everything that owns something native and can be made on a rank, by what makes it. */
enum Made {
    STREAM {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return CudaStream.create(world.rank.device());
        }
    },
    EVENT {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return CudaEvent.createTiming(world.rank.device());
        }
    },
    DEVICE_MEMORY {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return DeviceMemory.allocate(world.rank.device(), 1024);
        }
    },
    STREAM_ORDERED_MEMORY {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return DeviceMemory.allocateAsync(world.stream, 1024);
        }
    },
    PINNED_MEMORY {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return PinnedMemory.allocate(world.rank.device(), 1024);
        }
    },
    SHARED_MEMORY {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return world.communicator.allocate(4096);
        }
    },
    COMMUNICATOR {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return Communicator.init(UniqueId.create(), 0, 1, world.rank.device());
        }
    },
    SPLIT {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return Objects.requireNonNull(world.communicator.split(0, 0));
        }
    },
    WINDOW {
        @Override
        AutoCloseable make(World world, Layer layer) {
            DeviceMemory memory = world.communicator.allocate(8192);
            try {
                AutoCloseable window = world.communicator.register(memory);
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
        AutoCloseable make(World world, Layer layer) {
            return EpGroup.create(world.communicator, world.group.config());
        }
    },
    HANDLE {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return world.group.createHandle();
        }
    },
    UPDATED_HANDLE {
        @Override
        AutoCloseable make(World world, Layer layer) {
            LayoutInfo info = world.shape.isLowLatency() ? null : LayoutInfo.of(layer.buffers.expertCounts());
            return world.group.createHandle(world.shape.layout, layer.buffers.routing(), info,
                    HandleConfig.defaults(), world.stream);
        }
    },
    BUFFERS {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return layer.handle.allocateBuffers(BufferConfig.of(world.model.hidden(), LayerShape.type(world.model)));
        }
    },
    POOL {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return EpHandlePool.builder(world.group).slots(2).groupPerSlot().build(world.model.hidden(),
                    LayerShape.type(world.model));
        }
    },
    GRAPH {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return world.stream.capture(() -> layer.enqueue(1, world.stream));
        }
    },
    PIECEWISE_GRAPH {
        @Override
        AutoCloseable make(World world, Layer layer) {
            return PiecewiseGraph.on(world.stream)
                    .captured("dispatch", s -> layer.handle.dispatchAsync(layer.buffers, 1, s))
                    .captured("experts", layer::experts)
                    .captured("combine", s -> layer.handle.combineAsync(layer.buffers, s)).build();
        }
    };

    abstract AutoCloseable make(World world, Layer layer);
}
