package io.nccl4j.guide;

import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static java.lang.foreign.ValueLayout.JAVA_SHORT;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.BFloat16;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpTensor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * The server in the guide's examples. Its experts give back what they get and its weights add up to 1, so that after
 * any number of layers every token comes home unchanged.
 */
final class GuideModel implements AutoCloseable {
    static final int RANKS = 4;
    static final int EXPERTS = 8;
    static final int MAX_TOKENS = 16;
    static final int HIDDEN = 512;
    static final int TOP_K = 2;
    static final int LAYERS = 3;
    private static final int BATCHES = 20;

    private final int rank;
    private final PinnedMemory tokens;
    private final List<PinnedMemory> routings = new ArrayList<>();
    private final PinnedMemory weights;
    private final PinnedMemory combined;
    private int batches;
    private long misrouted = -1;

    GuideModel(CudaDevice device, int rank) {
        this.rank = rank;
        tokens = PinnedMemory.allocate(device, (long) MAX_TOKENS * HIDDEN * Short.BYTES);
        combined = PinnedMemory.allocate(device, (long) MAX_TOKENS * HIDDEN * Short.BYTES);
        weights = PinnedMemory.allocate(device, (long) MAX_TOKENS * TOP_K * Float.BYTES);
        for (int layer = 0; layer < LAYERS; layer++) {
            routings.add(PinnedMemory.allocate(device, (long) MAX_TOKENS * TOP_K * Long.BYTES));
        }
    }

    boolean nextBatch() {
        if (batches == BATCHES) {
            return false;
        }
        batches++;
        return true;
    }

    /** From now on the first token of a batch goes to this expert. */
    void routeTo(long expert) {
        misrouted = expert;
    }

    boolean isDone() {
        return batches == BATCHES;
    }

    /** Tokens of this rank in the batch, sometimes none. */
    int batchSize() {
        return (batches * 5 + rank) % (MAX_TOKENS + 1);
    }

    private float value(int token, int i) {
        return rank * 32 + batches + token - i % 7;
    }

    /** Tokens and weights of the batch; layers route by themselves, no token from the batch's size on. */
    void load(EpBuffers buffers, CudaStream stream) {
        for (int t = 0; t < MAX_TOKENS; t++) {
            for (int i = 0; i < HIDDEN; i++) {
                tokens.segment().setAtIndex(JAVA_SHORT, (long) t * HIDDEN + i, BFloat16.fromFloat(value(t, i)));
            }
            for (int k = 0; k < TOP_K; k++) {
                for (int layer = 0; layer < LAYERS; layer++) {
                    long expert = t < batchSize() ? (t + batches + layer + (long) k * 3 + rank) % EXPERTS : -1;
                    routings.get(layer).segment().setAtIndex(JAVA_LONG, (long) t * TOP_K + k, expert);
                }
                weights.segment().setAtIndex(JAVA_FLOAT, (long) t * TOP_K + k, k == 0 ? 0.25f : 0.75f);
            }
        }
        buffers.tokens().memory().copyFromAsync(tokens, tokens.byteSize(), stream);
        buffers.weights().memory().copyFromAsync(weights, weights.byteSize(), stream);
    }

    /** Attention and router: what the layer before has given is what this one takes. */
    void attention(int layer, EpBuffers buffers, CudaStream stream) {
        if (layer > 0) {
            buffers.tokens().memory().copyFromAsync(buffers.combined().memory(), combined.byteSize(), stream);
        }
        PinnedMemory routing = routings.get(layer);
        if (misrouted >= 0) {
            routing.segment().setAtIndex(JAVA_LONG, 0, misrouted);
        }
        buffers.routing().memory().copyFromAsync(routing, routing.byteSize(), stream);
    }

    /** The experts, for which counts lie on the device. */
    void experts(int layer, EpBuffers buffers, CudaStream stream) {
        assertThat(layer).isBetween(0, LAYERS - 1);
        assertThat(buffers.expertCounts().shape()).containsExactly(EXPERTS / RANKS);
        buffers.expertOutputs().memory().copyFromAsync(buffers.received().memory(), buffers.received().byteSize(),
                stream);
        // So that a timeline shows them.
        stream.launchHostFunction(() -> {
        });
    }

    /** Takes the result and checks it. */
    void use(EpBuffers buffers, CudaStream stream) {
        use(buffers.combined(), stream);
    }

    void use(EpTensor output, CudaStream stream) {
        output.memory().copyToAsync(combined, combined.byteSize(), stream);
        stream.await(Duration.ofSeconds(30));
        for (int t = 0; t < batchSize(); t++) {
            for (int i = 0; i < HIDDEN; i++) {
                assertThat(result(t, i)).isEqualTo(value(t, i));
            }
        }
    }

    private float result(int token, int i) {
        return BFloat16.toFloat(combined.segment().getAtIndex(JAVA_SHORT, (long) token * HIDDEN + i));
    }

    /** After a step of the most tokens: those that route nothing come home as zeros. */
    void verifyNothingBeyondTheBatch() {
        for (int t = batchSize(); t < MAX_TOKENS; t++) {
            for (int i = 0; i < HIDDEN; i++) {
                assertThat(result(t, i)).isZero();
            }
        }
    }

    @Override
    public void close() {
        tokens.close();
        routings.forEach(PinnedMemory::close);
        weights.close();
        combined.close();
    }
}
