package io.nccl4j.examples.interop;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.CombineInputs;
import io.nccl4j.ep.CombineOutputs;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.LayoutInfo;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.UniqueId;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;

/** A rank in Java of a job whose other ranks are mixed_rank.py: {@code MixedRank FOLDER}, as torchrun starts it. */
public final class MixedRank {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private MixedRank() {
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        Map<String, String> environment = System.getenv();
        int rank = Integer.parseInt(environment.get("RANK"));
        int size = Integer.parseInt(environment.get("WORLD_SIZE"));
        CudaDevice device = CudaDevice.of(Integer.parseInt(environment.get("LOCAL_RANK")));
        IdFile file = IdFile.of(Path.of(args[0]), environment);
        UniqueId id = rank == 0 ? file.publish() : file.await(LIMIT);
        try (Communicator communicator = Communicator.init(id, rank, size, device,
                CommunicatorOptions.defaults().mixed())) {
            if (rank == 0) {
                file.delete();
            }
            layer(communicator, new Rows(rank, size));
        }
        System.out.println("rank " + rank + " of " + size + ", in Java: rows are right");
    }

    /** The library sizes the RDMA buffer, as it does for Python by default: all ranks must ask for the same. */
    private static void layer(Communicator communicator, Rows rows) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(Rows.EXPERTS).maxTokensPerRank(Rows.TOKENS)
                .maxTokenBytes(Rows.HIDDEN * Float.BYTES).layout(Layout.EXPERT_MAJOR).topK(Rows.TOP_K)
                .growingRdmaBuffer();
        CudaDevice device = communicator.device();
        try (CudaStream stream = CudaStream.create(device);
                EpGroup group = EpGroup.create(communicator, config);
                EpHandle handle = group.createHandle();
                DeviceMemory tokens = filled(device, rows.tokens());
                DeviceMemory routing = filled(device, rows.routing());
                DeviceMemory weights = filled(device, rows.weights());
                DeviceMemory received = DeviceMemory.allocate(device, rows.receivedBytes());
                DeviceMemory counts = DeviceMemory.allocate(device, (long) rows.localExperts() * Integer.BYTES);
                DeviceMemory combined = DeviceMemory.allocate(device, tokens.byteSize())) {
            EpTensor zones = EpTensor.of(received, DataType.FLOAT32, rows.localExperts(),
                    (long) rows.ranks() * Rows.TOKENS, Rows.HIDDEN);
            handle.update(EpTensor.of(routing, DataType.INT64, Rows.TOKENS, Rows.TOP_K), stream);
            handle.dispatch(DispatchInputs.of(EpTensor.of(tokens, DataType.FLOAT32, Rows.TOKENS, Rows.HIDDEN)),
                    DispatchOutputs.of(zones), LayoutInfo.of(EpTensor.of(counts, DataType.INT32, rows.localExperts())),
                    stream);
            handle.combine(CombineInputs.of(zones),
                    CombineOutputs.of(EpTensor.of(combined, DataType.FLOAT32, Rows.TOKENS, Rows.HIDDEN),
                            EpTensor.of(weights, DataType.FLOAT32, Rows.TOKENS, Rows.TOP_K)),
                    stream);
            stream.await(LIMIT);
            rows.checkReceived(read(counts), read(received));
            rows.checkCombined(read(combined));
        }
    }

    private static DeviceMemory filled(CudaDevice device, ByteBuffer source) {
        DeviceMemory memory = DeviceMemory.allocate(device, source.remaining());
        memory.copyFrom(MemorySegment.ofBuffer(source));
        return memory;
    }

    private static ByteBuffer read(DeviceMemory memory) {
        ByteBuffer target = Rows.buffer(memory.byteSize());
        memory.copyTo(MemorySegment.ofBuffer(target));
        return target;
    }
}
