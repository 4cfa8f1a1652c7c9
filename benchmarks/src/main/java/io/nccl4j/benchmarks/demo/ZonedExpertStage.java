package io.nccl4j.benchmarks.demo;

import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.benchmarks.ranks.HostMirror;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.EpBuffers;
import java.lang.foreign.MemorySegment;

/** Layout EXPERT_MAJOR of the low-latency algorithm: a zone of rows per expert, of which the count says how many are in use. */
final class ZonedExpertStage implements ExpertStage {
    private final int firstExpert;
    private final int zones;
    private final int zoneRows;
    private final int hidden;
    private final HostMirror received;
    private final HostMirror counts;
    private final HostMirror outputs;

    ZonedExpertStage(DemoOptions options, int rank, EpBuffers buffers) {
        zones = options.expertsPerRank();
        firstExpert = rank * zones;
        zoneRows = options.ranks() * options.tokens();
        hidden = options.hidden();
        CudaDevice device = buffers.handle().group().device();
        received = new HostMirror(buffers.received(), device);
        counts = new HostMirror(buffers.expertCounts(), device);
        outputs = new HostMirror(buffers.expertOutputs(), device);
    }

    @Override
    public void enqueue(ExpertFunction experts, CudaStream stream) {
        received.toHost(stream);
        counts.toHost(stream);
        stream.launchHostFunction(() -> compute(experts));
        outputs.toDevice(stream);
    }

    private void compute(ExpertFunction experts) {
        MemorySegment from = received.host();
        MemorySegment to = outputs.host();
        float[] row = new float[hidden];
        for (int zone = 0; zone < zones; zone++) {
            int rows = counts.host().getAtIndex(JAVA_INT, zone);
            for (int i = 0; i < rows; i++) {
                long at = ((long) zone * zoneRows + i) * hidden;
                BFloat16.read(from, at, row);
                for (int column = 0; column < hidden; column++) {
                    row[column] = experts.apply(firstExpert + zone, column, row[column]);
                }
                BFloat16.write(row, to, at);
            }
        }
    }

    @Override
    public void close() {
        outputs.close();
        counts.close();
        received.close();
    }
}
