package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.bindings.nccl.ncclConfig_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How a communicator is made, {@code ncclConfig_t}. Immutable; made by {@link #builder()}. What is not set is left to
 * NCCL. All ranks use the same. Communicators are blocking: NCCL EP takes "in progress" for a failure.
 */
public final class CommunicatorOptions {
    private static final CommunicatorOptions DEFAULTS = builder().build();

    private final Builder values;

    private CommunicatorOptions(Builder values) {
        this.values = values;
    }

    /** {@return NCCL's defaults} */
    public static CommunicatorOptions defaults() {
        return DEFAULTS;
    }

    /** {@return a builder of options} */
    public static Builder builder() {
        return new Builder();
    }

    /** Collects the values. */
    public static final class Builder implements Cloneable {
        private boolean splitShare;
        private @Nullable String name;
        private @Nullable String network;
        private @Nullable Integer minCtas;
        private @Nullable Integer maxCtas;
        private @Nullable Integer clusterSize;
        private @Nullable Integer trafficClass;
        private @Nullable Duration limit;

        private Builder() {
        }

        /**
         * Communicators split from this one share its resources ({@code splitShare}).
         *
         * @return this builder
         */
        public Builder splitShare() {
            splitShare = true;
            return this;
        }

        /**
         * A name for NCCL's logs and profiler ({@code commName}).
         *
         * @param value the setting
         * @return this builder
         */
        public Builder name(String value) {
            name = value;
            return this;
        }

        /**
         * The network plugin to use ({@code netName}), such as {@code IB} or {@code Socket}.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder network(String value) {
            network = value;
            return this;
        }

        /**
         * Fewest thread blocks of a collective ({@code minCTAs}), at least 1.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder minCtas(int value) {
            minCtas = value;
            return this;
        }

        /**
         * Most thread blocks of a collective ({@code maxCTAs}), at least {@link #minCtas}.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder maxCtas(int value) {
            maxCtas = value;
            return this;
        }

        /**
         * Thread blocks of a cluster ({@code cgaClusterSize}), 0 to 8.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder clusterSize(int value) {
            clusterSize = value;
            return this;
        }

        /**
         * Traffic class of the network ({@code trafficClass}), at least 0.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder trafficClass(int value) {
            trafficClass = value;
            return this;
        }

        /**
         * How long calls that need other ranks (creation, split, registration of windows) wait for them; positive. By
         * default as long as the bootstrap does, or 5 minutes.
         *
         * @param value the limit
         * @return this builder
         */
        public Builder limit(Duration value) {
            limit = value;
            return this;
        }

        /**
         * {@return the options}
         *
         * @throws IllegalArgumentException if values are not allowed; the message names all of them
         */
        public CommunicatorOptions build() {
            List<String> broken = new ArrayList<>();
            int least = or(minCtas, 1);
            if (least < 1) {
                broken.add("minCtas is " + minCtas + ": must be at least 1");
            }
            if (maxCtas != null && maxCtas < Math.max(1, least)) {
                broken.add("maxCtas is " + maxCtas + ": must be at least " + Math.max(1, least));
            }
            if (clusterSize != null && (clusterSize < 0 || clusterSize > 8)) {
                broken.add("clusterSize is " + clusterSize + ": must be 0 to 8");
            }
            if (trafficClass != null && trafficClass < 0) {
                broken.add("trafficClass is " + trafficClass + ": must be at least 0");
            }
            if (limit != null && (limit.isNegative() || limit.isZero())) {
                broken.add("limit is " + limit + ": must be positive");
            }
            if (!broken.isEmpty()) {
                throw new IllegalArgumentException(String.join("; ", broken));
            }
            return new CommunicatorOptions(copy());
        }

        private Builder copy() {
            try {
                return (Builder) clone();
            } catch (CloneNotSupportedException e) {
                throw new AssertionError(e);
            }
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
}
