package io.nccl4j.benchmarks.demo;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.benchmarks.ranks.HostMirror;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.EpBuffers;
import java.util.Arrays;

/**
 * Layout FLAT of the high-throughput algorithm: one row per token, with the local experts that it is for and their weights. Its
 * output is their weighted sum, since combine only adds.
 */
final class FlatExpertStage implements ExpertStage {
    private final int firstExpert;
    private final int hidden;
    private final int topK;
    private final HostMirror received;
    private final HostMirror indices;
    private final HostMirror weights;
    private final HostMirror total;
    private final HostMirror outputs;

    FlatExpertStage(DemoOptions options, int rank, EpBuffers buffers) {
        firstExpert = rank * options.expertsPerRank();
        hidden = options.hidden();
        topK = options.topK();
        CudaDevice device = buffers.handle().group().device();
        received = new HostMirror(buffers.received(), device);
        indices = new HostMirror(buffers.receivedIndices(), device);
        weights = new HostMirror(buffers.receivedWeights(), device);
        total = new HostMirror(buffers.receivedTotal(), device);
        outputs = new HostMirror(buffers.expertOutputs(), device);
    }

    @Override
    public void enqueue(ExpertFunction experts, CudaStream stream) {
        received.toHost(stream);
        indices.toHost(stream);
        weights.toHost(stream);
        total.toHost(stream);
        stream.launchHostFunction(() -> compute(experts));
        outputs.toDevice(stream);
    }

    private void compute(ExpertFunction experts) {
        int rows = total.host().get(JAVA_INT, 0);
        float[] token = new float[hidden];
        float[] sum = new float[hidden];
        for (int row = 0; row < rows; row++) {
            BFloat16.read(received.host(), (long) row * hidden, token);
            Arrays.fill(sum, 0);
            for (int k = 0; k < topK; k++) {
                long at = (long) row * topK + k;
                long local = indices.host().getAtIndex(JAVA_LONG, at);
                if (local >= 0) {
                    add(experts, firstExpert + (int) local, weights.host().getAtIndex(JAVA_FLOAT, at), token, sum);
                }
            }
            BFloat16.write(sum, outputs.host(), (long) row * hidden);
        }
    }

    private static void add(ExpertFunction experts, int expert, float weight, float[] token, float[] sum) {
        for (int column = 0; column < sum.length; column++) {
            sum[column] = Math.fma(weight, experts.apply(expert, column, token[column]), sum[column]);
        }
    }

    @Override
    public void close() {
        outputs.close();
        total.close();
        weights.close();
        indices.close();
        received.close();
    }
}
