package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.nccl.ncclConfig_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * How a communicator is made, {@code ncclConfig_t}; what is not named here is left to NCCL. Immutable: each method
 * returns changed options. All ranks use the same.
 */
public final class CommunicatorOptions {
    private static final CommunicatorOptions DEFAULTS = new CommunicatorOptions();

    private boolean blocking = true;
    private boolean splitShare;
    private @Nullable String name;
    private @Nullable String network;
    private @Nullable Integer minCtas;
    private @Nullable Integer maxCtas;
    private @Nullable Integer clusterSize;
    private @Nullable Integer trafficClass;
    private @Nullable Duration limit;

    private CommunicatorOptions() {
    }

    /** NCCL's defaults: blocking. */
    public static CommunicatorOptions defaults() {
        return DEFAULTS;
    }

    /**
     * Whether calls that need other ranks wait for them ({@code blocking}). A communicator that does not is refused as
     * the base of an EP group, because NCCL EP takes "in progress" for a failure.
     */
    public CommunicatorOptions blocking(boolean value) {
        CommunicatorOptions copy = copy();
        copy.blocking = value;
        return copy;
    }

    /** Whether communicators split from this one share its resources ({@code splitShare}). */
    public CommunicatorOptions splitShare(boolean value) {
        CommunicatorOptions copy = copy();
        copy.splitShare = value;
        return copy;
    }

    /** A name for NCCL's logs and profiler ({@code commName}). */
    public CommunicatorOptions name(String value) {
        CommunicatorOptions copy = copy();
        copy.name = value;
        return copy;
    }

    /** The network plugin to use ({@code netName}), such as {@code IB} or {@code Socket}. */
    public CommunicatorOptions network(String value) {
        CommunicatorOptions copy = copy();
        copy.network = value;
        return copy;
    }

    /** Fewest and most thread blocks of a collective ({@code minCTAs}, {@code maxCTAs}), each at least 1. */
    public CommunicatorOptions ctas(int min, int max) {
        if (min < 1 || max < min) {
            throw new IllegalArgumentException(
                    "from " + min + " to " + max + " thread blocks: must be 1 <= min <= max");
        }
        CommunicatorOptions copy = copy();
        copy.minCtas = min;
        copy.maxCtas = max;
        return copy;
    }

    /** Thread blocks of a cluster ({@code cgaClusterSize}), 0 to 8. */
    public CommunicatorOptions clusterSize(int value) {
        if (value < 0 || value > 8) {
            throw new IllegalArgumentException("cluster size is " + value + ": must be 0 to 8");
        }
        CommunicatorOptions copy = copy();
        copy.clusterSize = value;
        return copy;
    }

    /** Traffic class of the network ({@code trafficClass}), at least 0. */
    public CommunicatorOptions trafficClass(int value) {
        if (value < 0) {
            throw new IllegalArgumentException("traffic class is " + value + ": must be at least 0");
        }
        CommunicatorOptions copy = copy();
        copy.trafficClass = value;
        return copy;
    }

    /**
     * How long calls that need other ranks (creation, split, registration of windows) wait for them. By default as long
     * as the bootstrap does, or 5 minutes.
     */
    public CommunicatorOptions limit(Duration value) {
        if (value.isNegative() || value.isZero()) {
            throw new IllegalArgumentException("limit is " + value + ": must be positive");
        }
        CommunicatorOptions copy = copy();
        copy.limit = value;
        return copy;
    }

    /** Whether calls that need other ranks wait for them. */
    public boolean isBlocking() {
        return blocking;
    }

    Duration limitOr(Duration other) {
        return limit != null ? limit : other;
    }

    private CommunicatorOptions copy() {
        CommunicatorOptions copy = new CommunicatorOptions();
        copy.blocking = blocking;
        copy.splitShare = splitShare;
        copy.name = name;
        copy.network = network;
        copy.minCtas = minCtas;
        copy.maxCtas = maxCtas;
        copy.clusterSize = clusterSize;
        copy.trafficClass = trafficClass;
        copy.limit = limit;
        return copy;
    }

    MemorySegment encode(Arena arena) {
        MemorySegment config = ncclConfig_t.allocate(arena);
        int undefined = Nccl.NCCL_CONFIG_UNDEF_INT();
        ncclConfig_t.size(config, config.byteSize());
        ncclConfig_t.magic(config, Nccl.NCCL_API_MAGIC());
        ncclConfig_t.version(config, Nccl.NCCL_VERSION_CODE());
        ncclConfig_t.blocking(config, blocking ? 1 : 0);
        ncclConfig_t.cgaClusterSize(config, or(clusterSize, undefined));
        ncclConfig_t.minCTAs(config, or(minCtas, undefined));
        ncclConfig_t.maxCTAs(config, or(maxCtas, undefined));
        ncclConfig_t.netName(config, string(network));
        ncclConfig_t.splitShare(config, splitShare ? 1 : undefined);
        ncclConfig_t.trafficClass(config, or(trafficClass, undefined));
        ncclConfig_t.commName(config, string(name));
        ncclConfig_t.collnetEnable(config, undefined);
        ncclConfig_t.CTAPolicy(config, undefined);
        ncclConfig_t.shrinkShare(config, undefined);
        ncclConfig_t.nvlsCTAs(config, undefined);
        ncclConfig_t.nChannelsPerNetPeer(config, undefined);
        ncclConfig_t.nvlinkCentricSched(config, undefined);
        ncclConfig_t.graphUsageMode(config, undefined);
        ncclConfig_t.numRmaCtx(config, undefined);
        ncclConfig_t.maxP2pPeers(config, undefined);
        ncclConfig_t.graphStreamOrdering(config, undefined);
        return config;
    }

    private static int or(@Nullable Integer value, int other) {
        return value != null ? value : other;
    }

    /** A non-blocking creation may read it after the call has returned, so it is never freed. */
    private static MemorySegment string(@Nullable String text) {
        return text == null ? MemorySegment.NULL : Arena.global().allocateFrom(text);
    }
}
