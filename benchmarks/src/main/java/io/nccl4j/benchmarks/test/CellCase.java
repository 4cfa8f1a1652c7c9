package io.nccl4j.benchmarks.test;

import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.OverflowPolicy;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.RoutingKind;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/** A random case of a cell: shape, options and the inputs of several rounds. All ranks draw the same from the same seed. */
final class CellCase {
    private static final int ROUNDS = 3;

    private final Cell cell;
    private final EpCase drawn;
    private final int hidden;
    private final List<Round> rounds = new ArrayList<>();
    private final boolean wideRouting;
    private final boolean wideCounters;
    private final boolean globalIds;
    private final boolean windows;
    private final boolean roundScales;
    private final int alignment;
    private final ReceiveBudget budget;

    CellCase(Cell cell, int ranks, long seed) {
        this.cell = cell;
        drawn = EpCase.draw(space(cell, ranks), seed);
        hidden = drawn.hidden() * drawnPacking();
        SplittableRandom random = drawn.random();
        wideRouting = random.nextBoolean();
        wideCounters = random.nextBoolean();
        globalIds = random.nextBoolean();
        // Low latency expert-major has no use for windows.
        windows = random.nextBoolean() && cell.shape() != Shape.LL_EXPERT_MAJOR;
        roundScales = random.nextBoolean();
        alignment = cell.shape() == Shape.HT_EXPERT_MAJOR ? 1 << random.nextInt(5) : 1;
        budget = budget(random);
        for (int i = 0; i < ROUNDS; i++) {
            RoutingKind kind = RoutingKind.values()[random.nextInt(RoutingKind.values().length)];
            rounds.add(new Round(this, i == 0 ? drawn : drawn.redraw(kind, random.nextLong())));
        }
    }

    /** Quantised rows are drawn with as many elements as a multiple of 512 values has. */
    private static CaseSpace space(Cell cell, int ranks) {
        CaseSpace space = cell.shape().isLowLatency() ? CaseSpace.lowLatency(ranks) : CaseSpace.highThroughput(ranks);
        space = space.withRanks(ranks).withFormat(cell.wire().drawnFormat());
        return cell.wire().scaleType() == null ? space
                : space.withHidden(cell.wire().elements(512), cell.wire().elements(1024));
    }

    private int drawnPacking() {
        return 512 / cell.wire().elements(512);
    }

    private ReceiveBudget budget(SplittableRandom random) {
        EpShape shape = drawn.shape();
        int most = shape.ranks() * shape.maxTokens();
        if (cell.shape() == Shape.HT_EXPERT_MAJOR) {
            most = most * shape.topK() + shape.localExperts() * alignment;
        }
        return switch (cell.budget()) {
        case WORST_CASE -> ReceiveBudget.trapping(most);
        case DROP -> ReceiveBudget.dropping(random.nextInt(shape.maxTokens(), Math.max(shape.maxTokens(), most / 2) + 1));
        case COUNTED -> ReceiveBudget.eager();
        };
    }

    EpGroupConfig groupConfig() {
        EpShape shape = drawn.shape();
        EpGroupConfig.Builder builder = cell.shape().isLowLatency() ? EpGroupConfig.lowLatency() : EpGroupConfig.highThroughput();
        builder.experts(shape.experts()).maxTokensPerRank(shape.maxTokens()).maxTokenBytes(cell.wire().maxTokenBytes(hidden))
                .layout(cell.shape().layout()).topK(shape.topK());
        if (!cell.shape().isLowLatency()) {
            switch (cell.budget()) {
            case WORST_CASE -> builder.maxReceiveRows(budget.rows());
            case DROP -> builder.maxReceiveRows(budget.rows()).overflow(OverflowPolicy.DROP);
            case COUNTED -> builder.eager();
            }
        }
        return builder.build();
    }

    HandleConfig handleConfig() {
        HandleConfig config = HandleConfig.defaults();
        return cell.shape().layout() == Layout.EXPERT_MAJOR && !cell.shape().isLowLatency() ? config.alignment(alignment) : config;
    }

    Cell cell() {
        return cell;
    }

    EpShape shape() {
        return drawn.shape();
    }

    /** Values of a token. */
    int hidden() {
        return hidden;
    }

    List<Round> rounds() {
        return rounds;
    }

    /** Whether routing is int64 instead of int32. */
    boolean wideRouting() {
        return wideRouting;
    }

    /** Whether counters that may be int64 are. */
    boolean wideCounters() {
        return wideCounters;
    }

    /** Whether received indices are global expert numbers. */
    boolean globalIds() {
        return globalIds;
    }

    /** Whether received rows and the experts' outputs lie in windows. */
    boolean windows() {
        return windows;
    }

    /** Whether scales are rounded to powers of two, where the sender makes them. */
    boolean roundScales() {
        return roundScales;
    }

    /** Rows that zones are padded to. */
    int alignment() {
        return alignment;
    }

    ReceiveBudget budget() {
        return budget;
    }

    @Override
    public String toString() {
        return drawn + ", routing int" + (wideRouting ? 64 : 32) + ", counters int" + (wideCounters ? 64 : 32)
                + (globalIds ? ", global ids" : "") + (windows ? ", windows" : "") + ", alignment " + alignment + ", " + budget;
    }
}
