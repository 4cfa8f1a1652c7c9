package io.nccl4j.examples.interop;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Tokens, routing and weights of every rank, and what must come of them when an expert returns what it got. */
record Rows(int rank, int ranks) {
    static final int EXPERTS = 4;
    static final int TOKENS = 5;
    static final int TOP_K = 2;
    static final int HIDDEN = 512;

    static ByteBuffer buffer(long bytes) {
        return ByteBuffer.allocateDirect((int) bytes).order(ByteOrder.nativeOrder());
    }

    private static float value(int rank, int token, int element) {
        return 1 + rank * TOKENS + token + element % 8 * 0.125f;
    }

    private static int expert(int rank, int token, int k) {
        return (rank + token + k) % EXPERTS;
    }

    int localExperts() {
        return EXPERTS / ranks;
    }

    /** Of a tensor [localExperts, ranks * TOKENS, HIDDEN]. */
    long receivedBytes() {
        return (long) localExperts() * ranks * TOKENS * HIDDEN * Float.BYTES;
    }

    ByteBuffer tokens() {
        ByteBuffer tokens = buffer((long) TOKENS * HIDDEN * Float.BYTES);
        for (int i = 0; i < TOKENS * HIDDEN; i++) {
            tokens.putFloat(i * Float.BYTES, value(rank, i / HIDDEN, i % HIDDEN));
        }
        return tokens;
    }

    ByteBuffer routing() {
        ByteBuffer routing = buffer(TOKENS * TOP_K * Long.BYTES);
        for (int i = 0; i < TOKENS * TOP_K; i++) {
            routing.putLong(i * Long.BYTES, expert(rank, i / TOP_K, i % TOP_K));
        }
        return routing;
    }

    /** They add up to 1 for each token. */
    ByteBuffer weights() {
        ByteBuffer weights = buffer(TOKENS * TOP_K * Float.BYTES);
        for (int i = 0; i < TOKENS * TOP_K; i++) {
            weights.putFloat(i * Float.BYTES, i % TOP_K == 0 ? 0.25f : 0.75f);
        }
        return weights;
    }

    /** Each local expert has the rows of the tokens that name it, in any order. */
    void checkReceived(ByteBuffer counts, ByteBuffer received) {
        int zone = ranks * TOKENS * HIDDEN;
        for (int local = 0; local < localExperts(); local++) {
            List<Float> expected = new ArrayList<>();
            for (int source = 0; source < ranks; source++) {
                for (int i = 0; i < TOKENS * TOP_K; i++) {
                    if (expert(source, i / TOP_K, i % TOP_K) == rank * localExperts() + local) {
                        expected.add(value(source, i / TOP_K, 0));
                    }
                }
            }
            List<Float> actual = new ArrayList<>();
            for (int row = 0; row < Math.min(counts.getInt(local * Integer.BYTES), ranks * TOKENS); row++) {
                actual.add(received.getFloat((local * zone + row * HIDDEN) * Float.BYTES));
            }
            expected.sort(null);
            actual.sort(null);
            if (!actual.equals(expected)) {
                throw new IllegalStateException(
                        "rank " + rank + ", local expert " + local + " has rows " + actual + ", not " + expected);
            }
        }
    }

    /** A token's row is what it was, as its weights add up to 1. */
    void checkCombined(ByteBuffer combined) {
        int differs = tokens().mismatch(combined);
        if (differs >= 0) {
            double[] heads = new double[TOKENS];
            Arrays.setAll(heads, token -> combined.getFloat(token * HIDDEN * Float.BYTES));
            throw new IllegalStateException("rank " + rank + " combined differs at byte " + differs
                    + "; its rows begin with " + Arrays.toString(heads));
        }
    }
}
