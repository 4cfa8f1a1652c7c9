package io.nccl4j.benchmarks.demo;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.ranks.HostMirror;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.Layout;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;

/**
 * Layouts in which a token is there once per rank, with the local experts that it is for and their weights: RANK_MAJOR with a region
 * per source rank, FLAT with one region. The output is the experts' weighted sum, since combine only adds.
 */
final class WeightedExpertStage implements ExpertStage {
    private final int firstExpert;
    private final int hidden;
    private final int topK;
    private final int regions;
    private final long regionRows;
    private final boolean wideIndices;
    private final HostMirror received;
    private final HostMirror indices;
    private final HostMirror weights;
    /** Rows in use of each region. */
    private final HostMirror counts;
    private final HostMirror outputs;

    WeightedExpertStage(DemoOptions options, int rank, EpBuffers buffers) {
        firstExpert = rank * options.expertsPerRank();
        hidden = options.hidden();
        topK = options.topK();
        wideIndices = buffers.handle().layout() == Layout.FLAT;
        regions = wideIndices ? 1 : options.ranks();
        regionRows = options.tokens();
        CudaDevice device = buffers.handle().group().device();
        received = new HostMirror(buffers.received(), device);
        indices = new HostMirror(buffers.receivedIndices(), device);
        weights = new HostMirror(buffers.receivedWeights(), device);
        counts = new HostMirror(wideIndices ? buffers.receivedTotal() : buffers.sourceRankCounts(), device);
        outputs = new HostMirror(buffers.expertOutputs(), device);
    }

    @Override
    public void enqueue(ExpertFunction experts, CudaStream stream) {
        received.toHost(stream);
        indices.toHost(stream);
        weights.toHost(stream);
        counts.toHost(stream);
        stream.launchHostFunction(() -> compute(experts));
        outputs.toDevice(stream);
    }

    private void compute(ExpertFunction experts) {
        float[] token = new float[hidden];
        float[] sum = new float[hidden];
        for (int region = 0; region < regions; region++) {
            long first = region * regionRows;
            for (long row = first; row < first + rowsInUse(region); row++) {
                BFloat16.read(received.host(), row * hidden, token);
                Arrays.fill(sum, 0);
                for (int k = 0; k < topK; k++) {
                    long at = row * topK + k;
                    long local = index(at);
                    if (local >= 0) {
                        add(experts, firstExpert + (int) local, weights.host().getAtIndex(JAVA_FLOAT, at), token, sum);
                    }
                }
                BFloat16.write(sum, outputs.host(), row * hidden);
            }
        }
    }

    private int rowsInUse(int region) {
        return counts.host().getAtIndex(JAVA_INT, region);
    }

    private long index(long at) {
        return wideIndices ? indices.host().getAtIndex(JAVA_LONG, at) : indices.host().getAtIndex(JAVA_INT, at);
    }

    private static void add(ExpertFunction experts, int expert, float weight, float[] token, float[] sum) {
        for (int column = 0; column < sum.length; column++) {
            sum[column] = Math.fma(weight, experts.apply(expert, column, token[column]), sum[column]);
        }
    }

    @Override
    public List<List<ByteBuffer>> received() {
        return ReceivedRows.read(regions, region -> region * regionRows, this::rowsInUse, row -> {
            ByteBuffer whole = ByteBuffer.allocate(hidden * Short.BYTES + topK * (Long.BYTES + Float.BYTES));
            whole.put(received.host().asSlice(row * hidden * Short.BYTES, (long) hidden * Short.BYTES).asByteBuffer());
            for (int k = 0; k < topK; k++) {
                whole.putLong(index(row * topK + k)).putFloat(weights.host().getAtIndex(JAVA_FLOAT, row * topK + k));
            }
            return whole;
        });
    }

    @Override
    public void close() {
        outputs.close();
        counts.close();
        weights.close();
        indices.close();
        received.close();
    }
}
