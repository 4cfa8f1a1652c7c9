package io.nccl4j.guide;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
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
import io.nccl4j.junit.EmulatedRanks;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/** The example of docs/migration.md: the C functions one by one, on memory of the caller. */
class MigrationGuideTest {
    private static final int RANKS = 2;
    private static final int EXPERTS = 4;
    private static final int MAX_TOKENS = 4;
    private static final int HIDDEN = 512;
    private static final int TOP_K = 2;

    @Test
    @EmulatedRanks(RANKS)
    void theExplicitForm(EmulatedCluster cluster) {
        cluster.run(MigrationGuideTest::run);
    }

    private static void run(EmulatedRank rank) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(EXPERTS).maxTokensPerRank(MAX_TOKENS)
                .maxTokenBytes(HIDDEN * 4).layout(Layout.EXPERT_MAJOR).topK(TOP_K);
        int localExperts = EXPERTS / RANKS;
        int ranks = RANKS;
        try (Communicator comm = Communicator.init(rank.bootstrap(), rank.device());
                CudaStream stream = CudaStream.create(rank.device());
                EpGroup group = EpGroup.create(comm, config);
                EpHandle handle = group.createHandle();
                DeviceMemory tokens = DeviceMemory.allocate(rank.device(), 4L * MAX_TOKENS * HIDDEN);
                DeviceMemory routing = DeviceMemory.allocate(rank.device(), 8L * MAX_TOKENS * TOP_K);
                DeviceMemory weights = DeviceMemory.allocate(rank.device(), 4L * MAX_TOKENS * TOP_K);
                DeviceMemory rows = DeviceMemory.allocate(rank.device(), 4L * EXPERTS * MAX_TOKENS * HIDDEN);
                DeviceMemory counts = DeviceMemory.allocate(rank.device(), 4L * EXPERTS / RANKS);
                DeviceMemory result = DeviceMemory.allocate(rank.device(), 4L * MAX_TOKENS * HIDDEN);
                Arena host = Arena.ofConfined()) {
            MemorySegment values = host.allocate(JAVA_FLOAT, MAX_TOKENS * HIDDEN);
            values.fill((byte) 1);
            tokens.copyFrom(values);
            routing.copyFrom(host.allocateFrom(JAVA_LONG, 0, 2, 1, 3, 0, 1, 2, 3));
            weights.copyFrom(host.allocateFrom(JAVA_FLOAT, .5f, .5f, .25f, .75f, .5f, .5f, .5f, .5f));
            int batch = 3;
            // example explicit
            // Once. Descriptors of memory that you own: by DeviceMemory.wrap(address, bytes, device) if others made it.
            EpTensor topkIdx = EpTensor.of(routing, DataType.INT64, MAX_TOKENS, TOP_K);
            EpTensor x = EpTensor.of(tokens, DataType.FLOAT32, MAX_TOKENS, HIDDEN);
            EpTensor received = EpTensor.of(rows, DataType.FLOAT32, localExperts, (long) ranks * MAX_TOKENS, HIDDEN);
            EpTensor combined = EpTensor.of(result, DataType.FLOAT32, MAX_TOKENS, HIDDEN);
            EpTensor topkWeights = EpTensor.of(weights, DataType.FLOAT32, MAX_TOKENS, TOP_K);
            EpTensor expertCounters = EpTensor.of(counts, DataType.INT32, localExperts);
            DispatchInputs dispatchInputs = DispatchInputs.of(x);
            DispatchOutputs dispatchOutputs = DispatchOutputs.of(received);
            LayoutInfo layoutInfo = LayoutInfo.of(expertCounters);
            CombineInputs combineInputs = CombineInputs.of(received); // these experts work in place
            CombineOutputs combineOutputs = CombineOutputs.of(combined, topkWeights);

            // Per layer and step: the number of rows, and one method per C function.
            handle.update(topkIdx.rows(batch), null, stream);
            x.rows(batch);
            handle.dispatch(dispatchInputs, dispatchOutputs, layoutInfo, null, stream);
            combined.rows(batch);
            topkWeights.rows(batch);
            handle.combine(combineInputs, combineOutputs, null, stream);
            // end
            stream.await(Duration.ofSeconds(10));
            MemorySegment home = host.allocate(JAVA_FLOAT, MAX_TOKENS * HIDDEN);
            result.copyTo(home);
            for (long i = 0; i < (long) batch * HIDDEN; i++) {
                assertThat(home.getAtIndex(JAVA_FLOAT, i)).isEqualTo(values.getAtIndex(JAVA_FLOAT, i));
            }
            MemorySegment counted = host.allocate(JAVA_INT, localExperts);
            counts.copyTo(counted);
            assertThat(counted.toArray(JAVA_INT)).containsExactly(rank.rank() == 0 ? new int[]{4, 4} : new int[]{2, 2});
        }
    }
}
