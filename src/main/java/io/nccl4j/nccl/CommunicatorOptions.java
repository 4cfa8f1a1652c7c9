package io.nccl4j.nccl;

import io.nccl4j.internal.ConfigValues;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.nccl.ncclConfig_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * How a communicator is made, {@code ncclConfig_t}. Immutable: each method returns the changed options. What is not set
 * is left to NCCL. All ranks use the same; {@link Communicator#init(Bootstrap, io.nccl4j.cuda.CudaDevice,
 * CommunicatorOptions)} checks them and names all that is wrong. Communicators are blocking: NCCL EP takes "in
 * progress" for a failure.
 */
public final class CommunicatorOptions {
    private static final CommunicatorOptions DEFAULTS = new CommunicatorOptions(new Values());

    private final Values values;

    private CommunicatorOptions(Values values) {
        this.values = values;
    }

    private static final class Values extends ConfigValues {
        private boolean mixed;
        private boolean splitShare;
        private @Nullable String name;
        private @Nullable String network;
        private @Nullable Integer minCtas;
        private @Nullable Integer maxCtas;
        private @Nullable Integer clusterSize;
        private @Nullable Integer trafficClass;
        private @Nullable Duration limit;
    }

    private CommunicatorOptions with(Consumer<Values> change) {
        return new CommunicatorOptions(ConfigValues.changed(values, change));
    }

    /** {@return NCCL's defaults} */
    public static CommunicatorOptions defaults() {
        return DEFAULTS;
    }

    /**
     * Some ranks do not run nccl4j, such as those of NVIDIA's Python package. Then it makes no collective call of its
     * own on the communicator, or on those split from it, by which ranks otherwise compare what they ask for and how
     * much memory they have, before groups, handles and buffers are made: each rank checks itself alone. To be chosen
     * by all ranks that do run nccl4j.
     *
     * @return the changed options
     */
    public CommunicatorOptions mixed() {
        return with(o -> o.mixed = true);
    }

    /**
     * Communicators split from this one share its resources ({@code splitShare}).
     *
     * @return the changed options
     */
    public CommunicatorOptions splitShare() {
        return with(o -> o.splitShare = true);
    }

    /**
     * A name for NCCL's logs and profiler ({@code commName}).
     *
     * @param value the setting
     * @return the changed options
     */
    public CommunicatorOptions name(String value) {
        return with(o -> o.name = value);
    }

    /**
     * The network plugin to use ({@code netName}), such as {@code IB} or {@code Socket}.
     *
     * @param value the setting
     * @return the changed options
     */
    public CommunicatorOptions network(String value) {
        return with(o -> o.network = value);
    }

    /**
     * Fewest thread blocks of a collective ({@code minCTAs}), at least 1.
     *
     * @param value the setting
     * @return the changed options
     */
    public CommunicatorOptions minCtas(int value) {
        return with(o -> o.minCtas = value);
    }

    /**
     * Most thread blocks of a collective ({@code maxCTAs}), at least {@link #minCtas}.
     *
     * @param value the setting
     * @return the changed options
     */
    public CommunicatorOptions maxCtas(int value) {
        return with(o -> o.maxCtas = value);
    }

    /**
     * Thread blocks of a cluster ({@code cgaClusterSize}), 0 to 8.
     *
     * @param value the setting
     * @return the changed options
     */
    public CommunicatorOptions clusterSize(int value) {
        return with(o -> o.clusterSize = value);
    }

    /**
     * Traffic class of the network ({@code trafficClass}), at least 0.
     *
     * @param value the setting
     * @return the changed options
     */
    public CommunicatorOptions trafficClass(int value) {
        return with(o -> o.trafficClass = value);
    }

    /**
     * How long calls that need other ranks (creation, split, registration of windows) wait for them; positive. By
     * default as long as the bootstrap does, or 5 minutes.
     *
     * @param value the limit
     * @return the changed options
     */
    public CommunicatorOptions limit(Duration value) {
        return with(o -> o.limit = value);
    }

    /** @throws IllegalArgumentException if values are not allowed; the message names all of them */
    void check() {
        Values v = values;
        List<String> broken = new ArrayList<>();
        int least = or(v.minCtas, 1);
        if (least < 1) {
            broken.add("minCtas is " + v.minCtas + ": must be at least 1");
        }
        if (v.maxCtas != null && v.maxCtas < Math.max(1, least)) {
            broken.add("maxCtas is " + v.maxCtas + ": must be at least " + Math.max(1, least));
        }
        if (v.clusterSize != null && (v.clusterSize < 0 || v.clusterSize > 8)) {
            broken.add("clusterSize is " + v.clusterSize + ": must be 0 to 8");
        }
        if (v.trafficClass != null && v.trafficClass < 0) {
            broken.add("trafficClass is " + v.trafficClass + ": must be at least 0");
        }
        if (v.limit != null && (v.limit.isNegative() || v.limit.isZero())) {
            broken.add("limit is " + v.limit + ": must be positive");
        }
        if (!broken.isEmpty()) {
            throw new IllegalArgumentException(String.join("; ", broken));
        }
    }

    Duration limitOr(Duration other) {
        return values.limit != null ? values.limit : other;
    }

    MemorySegment encode(Arena arena) {
        MemorySegment config = ncclConfig_t.allocate(arena);
        int undefined = Nccl.NCCL_CONFIG_UNDEF_INT();
        ncclConfig_t.size(config, config.byteSize());
        ncclConfig_t.magic(config, Nccl.NCCL_API_MAGIC());
        ncclConfig_t.version(config, Nccl.NCCL_VERSION_CODE());
        ncclConfig_t.blocking(config, 1);
        ncclConfig_t.cgaClusterSize(config, or(values.clusterSize, undefined));
        ncclConfig_t.minCTAs(config, or(values.minCtas, undefined));
        ncclConfig_t.maxCTAs(config, or(values.maxCtas, undefined));
        ncclConfig_t.netName(config, string(values.network));
        ncclConfig_t.splitShare(config, values.splitShare ? 1 : undefined);
        ncclConfig_t.trafficClass(config, or(values.trafficClass, undefined));
        ncclConfig_t.commName(config, string(values.name));
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

    /** NCCL may keep the pointer, so it is never freed. */
    private static MemorySegment string(@Nullable String text) {
        return text == null ? MemorySegment.NULL : Arena.global().allocateFrom(text);
    }

    boolean isMixed() {
        return values.mixed;
    }
}
