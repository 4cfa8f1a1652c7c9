package io.nccl4j.benchmarks.test;

import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.OverflowPolicy;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.ep.ZeroCopy;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.CaseSpace;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.ExpertMajorMode;
import io.nccl4j.oracle.ReceiveBudget;
import io.nccl4j.oracle.RoutingKind;
import io.nccl4j.oracle.RowFunction;
import io.nccl4j.testing.LayerKind;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * A random case of a cell: shape, options and the inputs of several rounds. All ranks draw the same from the same seed.
 * The real library compiles its kernels at their first use, for some seconds for each row length, top-k, type of
 * routing, and for some each number of tokens: there these are the same for all cases of a kind of layer.
 */
final class CellCase {
    private static final int ROUNDS = 3;
    private static final int NOBODY = -1;
    private static final int FIXED_LOCAL_EXPERTS = 4;
    private static final int FIXED_TOP_K = 4;
    private static final int FIXED_TOKENS = 24;

    final Cell cell;
    private final EpCase drawn;
    private final int hidden;
    final List<Round> rounds = new ArrayList<>();
    private final boolean wideRouting;
    /** Whether those counters of high throughput that may be either are INT64. */
    final boolean wideCounters;
    /** Whether received indices are global expert numbers. */
    final boolean globalIds;
    /** Whether received rows and the experts' outputs lie in windows. */
    final boolean windows;
    private final boolean zeroCopy;
    /** Whether scales are rounded to powers of two, where the sender makes them. */
    final boolean roundScales;
    private final int alignment;
    private final ReceiveBudget budget;
    /** Whether handles live in memory of the caller. */
    final boolean callersMemory;
    /** Handles of the group, used in turn. */
    final int handles;
    /** The rank that all others have masked and that does nothing, or a negative number. */
    final int masked;

    /** @param seed of this case */
    CellCase(Cell cell, Matrix matrix, long seed) {
        this.cell = cell;
        SplittableRandom random = new SplittableRandom(seed);
        zeroCopy = random.nextInt(3) == 0 && canInsistOnWindows(cell, matrix.teams());
        drawn = matrix.fixedShapes() ? fixed(cell, matrix, random) : draw(cell, matrix, random);
        hidden = drawn.hidden() * cell.wire().packed();
        boolean wide = random.nextBoolean();
        wideRouting = matrix.fixedShapes() ? cell.shape().ordinal() % 2 == 0 : wide;
        wideCounters = random.nextBoolean();
        globalIds = random.nextBoolean();
        // Low latency expert-major has no use for windows.
        windows = zeroCopy || random.nextBoolean() && cell.shape() != LayerKind.LL_EXPERT_MAJOR;
        roundScales = random.nextBoolean();
        alignment = cell.shape() == LayerKind.HT_EXPERT_MAJOR && canPad() ? 1 << random.nextInt(5) : 1;
        budget = budget(random);
        callersMemory = random.nextBoolean();
        handles = random.nextInt(1, 3);
        masked = cell.setting() == Setting.MASKED && matrix.ranks() > 1 ? random.nextInt(matrix.ranks()) : NOBODY;
        for (int i = 0; i < ROUNDS; i++) {
            RoutingKind kind = RoutingKind.values()[random.nextInt(RoutingKind.values().length)];
            rounds.add(new Round(this, i == 0 ? drawn : drawn.redraw(kind, random.nextLong())));
        }
    }

    private EpCase draw(Cell of, Matrix matrix, SplittableRandom random) {
        CaseSpace space = space(of, matrix.ranks()).withTeams(matrix.teams());
        // Then high throughput duplicates rows, for which experts per rank must be a power of two.
        return EpCase.draw(zeroCopy || of.setting().duplicates() ? space.withPowersOfTwo() : space, random.nextLong());
    }

    private static EpCase fixed(Cell cell, Matrix matrix, SplittableRandom random) {
        EpShape shape = new EpShape(matrix.ranks(), FIXED_LOCAL_EXPERTS * matrix.ranks(), FIXED_TOP_K, FIXED_TOKENS,
                matrix.teams());
        RoutingKind kind = RoutingKind.values()[random.nextInt(RoutingKind.values().length)];
        return EpCase.of(shape, kind, cell.wire().drawnFormat(), 512 / cell.wire().packed(), random.nextLong());
    }

    /** Whether a group of zero copy mode ON can do this. */
    private static boolean canInsistOnWindows(Cell cell, int teams) {
        return !cell.shape().isLowLatency() || cell.shape() == LayerKind.LL_RANK_MAJOR
                && cell.wire().recipe() != DispatchRecipe.DS_FP8E3M4 && teams == 1;
    }

    /**
     * Without a budget there is room for all rows, but for padding only forward and where dispatch permutes: backward,
     * combine takes no more rows than there can be tokens, and where rows are duplicated dispatch does not either.
     */
    private boolean canPad() {
        return cell.budget() != Budget.COUNTED
                || cell.direction() == PassDirection.FORWARD && expertMajorMode() == ExpertMajorMode.LOCAL_PERMUTE;
    }

    /** Quantised rows are drawn with as many elements as a multiple of 512 values has. */
    private static CaseSpace space(Cell cell, int ranks) {
        CaseSpace space = cell.shape().isLowLatency() ? CaseSpace.lowLatency(ranks) : CaseSpace.highThroughput(ranks);
        space = space.withRanks(ranks).withFormat(cell.wire().drawnFormat());
        int packed = cell.wire().packed();
        return cell.wire().isQuantised() ? space.withHidden(512 / packed, 1024 / packed) : space;
    }

    private ReceiveBudget budget(SplittableRandom random) {
        EpShape shape = drawn.shape();
        int most = shape.ranks() * shape.maxTokens();
        if (cell.shape() == LayerKind.HT_EXPERT_MAJOR) {
            most = most * shape.topK() + shape.localExperts() * alignment;
        }
        return switch (cell.budget()) {
            case WORST_CASE -> ReceiveBudget.trapping(most);
            case DROP -> {
                if (cell.setting().duplicates()) {
                    // These modes demand room for all rows; only padding can overflow it.
                    int all = shape.ranks() * shape.maxTokens() * shape.topK();
                    yield ReceiveBudget.dropping((all + alignment - 1) / alignment * alignment);
                }
                int some = random.nextInt(shape.maxTokens(), Math.max(shape.maxTokens(), most / 2) + 1);
                // Where rows are duplicated, padding may be written up to the end of a zone that the budget cuts.
                yield ReceiveBudget.dropping((some + alignment - 1) / alignment * alignment);
            }
            case COUNTED -> ReceiveBudget.eager();
        };
    }

    EpGroupConfig groupConfig() {
        EpGroupConfig config = cell.shape().config(drawn.shape(), maxTokenBytes())
                .zeroCopy(zeroCopy ? ZeroCopy.ON : ZeroCopy.AUTO);
        if (!cell.shape().isLowLatency()) {
            config = switch (cell.budget()) {
                case WORST_CASE -> config.maxReceiveRows(budget.rows());
                case DROP -> config.maxReceiveRows(budget.rows()).overflow(OverflowPolicy.DROP);
                case COUNTED -> config.eager();
            };
        }
        return cell.setting() == Setting.MASKED ? config.mask() : config;
    }

    /** Bytes of the longest row with its scales, in either direction. */
    private int maxTokenBytes() {
        BufferConfig rows = rows();
        DataType scales = rows.scaleType();
        int scaleBytes = scales == null ? 0 : rows.scaleElements() * scales.byteSize();
        return Math.max(rows.hidden() * rows.type().byteSize(), scaleBytes
                + rows.tokenElements() * Math.max(rows.tokenType().byteSize(), rows.receivedType().byteSize()));
    }

    /** Rows that a rank of high throughput has room for. */
    long capacity() {
        EpShape shape = drawn.shape();
        long tokens = (long) shape.ranks() * shape.maxTokens();
        return budget.fixed()
                ? budget.rows()
                : cell.shape() == LayerKind.HT_FLAT
                        ? tokens
                        : tokens * shape.topK() + (long) shape.localExperts() * alignment;
    }

    /** Type, length and quantisation of rows. */
    BufferConfig rows() {
        return cell.wire().rows(hidden, roundScales).routing(wideRouting ? DataType.INT64 : DataType.INT32);
    }

    RowFunction experts() {
        return TestExperts.of(cell.shape(), drawn.shape(), rows());
    }

    HandleConfig handleConfig() {
        HandleConfig config = HandleConfig.defaults();
        return cell.shape().layout() == Layout.EXPERT_MAJOR && !cell.shape().isLowLatency()
                ? config.alignment(alignment)
                : config;
    }

    boolean isBackward() {
        return cell.direction() == PassDirection.BACKWARD;
    }

    EpShape shape() {
        return drawn.shape();
    }

    /** How a high-throughput group brings a token to several experts of a rank. */
    ExpertMajorMode expertMajorMode() {
        return cell.setting().expertMajorMode(zeroCopy, shape().teams());
    }

    @Override
    public String toString() {
        return drawn + ", routing int" + (wideRouting ? 64 : 32) + ", counters int" + (wideCounters ? 64 : 32)
                + (globalIds ? ", global ids" : "") + (zeroCopy ? ", zero copy" : windows ? ", windows" : "")
                + ", alignment " + alignment + ", " + handles + (handles == 1 ? " handle" : " handles")
                + (callersMemory ? " in the caller's memory" : "")
                + (masked == NOBODY ? "" : ", rank " + masked + " masked") + ", " + budget;
    }
}
