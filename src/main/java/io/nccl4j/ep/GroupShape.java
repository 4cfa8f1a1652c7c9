package io.nccl4j.ep;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * The numbers of an {@link EpGroupConfig}, as rules and sizes see them.
 *
 * @param algorithm LL or HT
 * @param experts E
 * @param maxTokensPerRank B
 * @param maxTokenBytes of a row with its scales
 * @param layout null if none is named
 * @param topK 0 if none is named
 * @param alignment of experts' zones; 0 if none is named
 * @param receiveRows the budget as given; 0 if none was
 * @param isEager whether outputs are sized from counts
 * @param rdmaBufferBytes 0 if not given
 * @param isGrowing whether the library sizes the RDMA buffer
 * @param maxSms 0 if not given
 * @param dispatchSms 0 if not given
 * @param combineSms 0 if not given
 * @param queuePairs 0 if not given
 * @param channels 0 if not given
 * @param hasMask whether ranks can be masked
 * @param timeout of a wait on the device; null if not given
 * @param zeroCopy use of windows
 * @param overflow of the receive budget
 */
record GroupShape(Algorithm algorithm, int experts, int maxTokensPerRank, int maxTokenBytes, @Nullable Layout layout,
        int topK, int alignment, int receiveRows, boolean isEager, long rdmaBufferBytes, boolean isGrowing, int maxSms,
        int dispatchSms, int combineSms, int queuePairs, int channels, boolean hasMask, @Nullable Duration timeout,
        ZeroCopy zeroCopy, OverflowPolicy overflow) {

    /** The values that must be the same on all ranks, which nothing in the library compares. */
    String common(LsaTeams teams) {
        return algorithm + " with " + experts + " experts, maxTokensPerRank " + maxTokensPerRank + ", maxTokenBytes "
                + maxTokenBytes + ", layout " + layout + ", topK " + topK + ", alignment " + alignment
                + (isLowLatency()
                        ? ", " + (isGrowing ? "a growing buffer" : "rdmaBufferBytes " + rdmaBufferBytes)
                        : ", " + (isEager ? "eager" : "maxReceiveRows " + receiveRows) + ", mode "
                                + ExpertMajorMode.of(zeroCopy, teams) + ", overflow " + overflow)
                + ", zeroCopy " + zeroCopy + (hasMask ? ", with masks" : "");
    }

    boolean isLowLatency() {
        return algorithm == Algorithm.LOW_LATENCY;
    }
}
