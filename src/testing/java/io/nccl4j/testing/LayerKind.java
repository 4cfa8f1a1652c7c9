package io.nccl4j.testing;

import io.nccl4j.ep.Algorithm;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import java.util.Arrays;

/** The algorithms of NCCL EP with their layouts. */
public enum LayerKind {
    /** Low latency, a zone of rows for each expert: combine applies the weights. */
    LL_EXPERT_MAJOR(Algorithm.LOW_LATENCY, Layout.EXPERT_MAJOR),
    /** Low latency, a region of rows for each source rank: the experts apply the weights, combine adds. */
    LL_RANK_MAJOR(Algorithm.LOW_LATENCY, Layout.RANK_MAJOR),
    /** High throughput, a row for each token and rank: the experts apply the weights, combine adds. */
    HT_FLAT(Algorithm.HIGH_THROUGHPUT, Layout.FLAT),
    /** High throughput, the experts' zones one after the other: the experts apply the weights, combine adds. */
    HT_EXPERT_MAJOR(Algorithm.HIGH_THROUGHPUT, Layout.EXPERT_MAJOR);

    private static final int ROW_ALIGNMENT = 16;

    private final Algorithm algorithm;
    private final Layout layout;

    LayerKind(Algorithm algorithm, Layout layout) {
        this.algorithm = algorithm;
        this.layout = layout;
    }

    /** The kind of a handle. */
    public static LayerKind of(EpHandle handle) {
        return of(handle.group().config().algorithm(), handle.layout());
    }

    /** The shape of a group's layers. */
    static EpShape shape(EpGroup group, int topK) {
        EpGroupConfig config = group.config();
        return new EpShape(group.communicator().size(), config.experts(), topK, config.maxTokensPerRank(),
                group.lsaTeams());
    }

    /** The kind of an algorithm and one of its layouts. */
    public static LayerKind of(Algorithm algorithm, Layout layout) {
        for (LayerKind kind : values()) {
            if (kind.algorithm == algorithm && kind.layout == layout) {
                return kind;
            }
        }
        throw new IllegalArgumentException(algorithm + " has no layout " + layout);
    }

    /** The algorithm. */
    public Algorithm algorithm() {
        return algorithm;
    }

    /** The layout of received rows. */
    public Layout layout() {
        return layout;
    }

    /** Whether the algorithm is the low-latency one. */
    public boolean isLowLatency() {
        return algorithm == Algorithm.LOW_LATENCY;
    }

    /** Whether a token is received once for each of its experts, instead of once per rank. */
    public boolean hasRowPerExpert() {
        return layout == Layout.EXPERT_MAJOR;
    }

    /** Kinds of routing for which there is always room: duplicates may exceed the zone of an expert. */
    public RoutingKind[] routings() {
        return Arrays.stream(RoutingKind.values())
                .filter(routing -> this != LL_EXPERT_MAJOR || routing != RoutingKind.DUPLICATES)
                .toArray(RoutingKind[]::new);
    }

    /** Cases that this kind can do on so many ranks. */
    public CaseSpace space(int ranks) {
        return (isLowLatency() ? CaseSpace.lowLatency(ranks) : CaseSpace.highThroughput(ranks)).withRanks(ranks)
                .withRoutings(routings());
    }

    /** Small cases of bfloat16, drawn uniformly; further batches are drawn again from one. */
    public EpCase draw(int ranks, long seed) {
        return EpCase.draw(space(ranks).withHidden(isLowLatency() ? 512 : 64).withFormat(NumberFormat.BFLOAT16)
                .withRoutings(RoutingKind.UNIFORM), seed);
    }

    /** The configuration of a group for such cases, to be changed further. */
    public EpGroupConfig config(EpCase model) {
        return config(model.shape(), model.hidden() * model.format().bytes());
    }

    /** The configuration of a group of that shape, to be changed further. */
    public EpGroupConfig config(EpShape shape, int maxTokenBytes) {
        return (isLowLatency() ? EpGroupConfig.lowLatency() : EpGroupConfig.highThroughput()).experts(shape.experts())
                .maxTokensPerRank(shape.maxTokens())
                .maxTokenBytes(Math.ceilDiv(maxTokenBytes, ROW_ALIGNMENT) * ROW_ALIGNMENT).layout(layout)
                .topK(shape.topK());
    }

    /** The type of rows in a format. */
    public static DataType type(NumberFormat format) {
        return DataType.valueOf(format.name());
    }
}
