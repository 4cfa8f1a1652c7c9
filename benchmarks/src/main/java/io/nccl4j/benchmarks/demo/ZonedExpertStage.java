package io.nccl4j.benchmarks.demo;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.benchmarks.ranks.HostMirror;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.EpBuffers;
import java.nio.ByteBuffer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Layout EXPERT_MAJOR: a zone of rows per expert, of which the count says how many are in use. In low latency zones have a fixed size
 * and combine applies the weights; in high throughput zones begin at offsets, and the weights, received with the rows, are applied here.
 */
final class ZonedExpertStage implements ExpertStage {
    private final int firstExpert;
    private final int zones;
    private final long zoneRows;
    private final int hidden;
    private final HostMirror received;
    private final HostMirror counts;
    private final @Nullable HostMirror offsets;
    private final @Nullable HostMirror weights;
    private final HostMirror outputs;

    ZonedExpertStage(DemoOptions options, int rank, EpBuffers buffers) {
        zones = options.expertsPerRank();
        firstExpert = rank * zones;
        zoneRows = (long) options.ranks() * options.tokens();
        hidden = options.hidden();
        CudaDevice device = buffers.handle().group().device();
        boolean packed = buffers.handle().group().config().algorithm() == Algorithm.HIGH_THROUGHPUT;
        received = new HostMirror(buffers.received(), device);
        counts = new HostMirror(buffers.expertCounts(), device);
        offsets = packed ? new HostMirror(buffers.expertOffsets(), device) : null;
        weights = packed ? new HostMirror(buffers.receivedWeights(), device) : null;
        outputs = new HostMirror(buffers.expertOutputs(), device);
    }

    @Override
    public void enqueue(ExpertFunction experts, CudaStream stream) {
        received.toHost(stream);
        counts.toHost(stream);
        if (offsets != null && weights != null) {
            offsets.toHost(stream);
            weights.toHost(stream);
        }
        stream.launchHostFunction(() -> compute(experts));
        outputs.toDevice(stream);
    }

    private void compute(ExpertFunction experts) {
        float[] row = new float[hidden];
        for (int zone = 0; zone < zones; zone++) {
            long first = first(zone);
            for (long at = first; at < first + rowsInUse(zone); at++) {
                BFloat16.read(received.host(), at * hidden, row);
                for (int column = 0; column < hidden; column++) {
                    float output = experts.apply(firstExpert + zone, column, row[column]);
                    row[column] = weights == null ? output : Math.fma(weight(at), output, 0);
                }
                BFloat16.write(row, outputs.host(), at * hidden);
            }
        }
    }

    private long first(int zone) {
        return offsets == null ? zone * zoneRows : offsets.host().getAtIndex(JAVA_INT, zone);
    }

    private int rowsInUse(int zone) {
        return counts.host().getAtIndex(JAVA_INT, zone);
    }

    private float weight(long row) {
        return weights == null ? 0 : weights.host().getAtIndex(JAVA_FLOAT, row);
    }

    @Override
    public List<List<ByteBuffer>> received() {
        return ReceivedRows.read(zones, this::first, this::rowsInUse, row -> {
            ByteBuffer whole = ByteBuffer.allocate(hidden * Short.BYTES + Float.BYTES);
            whole.put(received.host().asSlice(row * hidden * Short.BYTES, (long) hidden * Short.BYTES).asByteBuffer());
            return whole.putFloat(weight(row));
        });
    }

    @Override
    public void close() {
        outputs.close();
        if (offsets != null && weights != null) {
            weights.close();
            offsets.close();
        }
        counts.close();
        received.close();
    }
}
