package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.ep.RankMask;
import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.oracle.WeightGradients;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerRows;
import io.nccl4j.testing.MoeRank;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Objects;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/** A rank's part in one case: several rounds of dispatch, experts and combine on one handle, each verified. */
final class CaseRun {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final CellCase of;
    private final Rank rank;
    private final MoeRank moe;
    private final CudaStream stream;
    private final Deque<EpHandle> handles = new ArrayDeque<>();
    private final LayerCalls calls;
    private final LayerRows layer;

    private CaseRun(CellCase of, Rank rank, MoeRank moe) {
        this.of = of;
        this.rank = rank;
        this.moe = moe;
        stream = moe.stream();
        for (int i = 0; i < of.handles; i++) {
            handles.add(handle());
        }
        calls = new CallerTensors(of, moe).calls();
        layer = moe.own(new LayerRows(next(), calls, of.rows(), of.experts(), stream));
        layer.mode(of.expertMajorMode());
    }

    /** In memory of the caller, where the case says so. */
    private EpHandle handle() {
        HandleConfig config = of.handleConfig();
        Layout layout = of.cell.shape().layout();
        if (of.callersMemory) {
            long bytes = moe.group().handleMemoryBytes(layout, of.shape().topK());
            config = config.memory(moe.own(DeviceMemory.allocate(moe.device(), bytes)));
        }
        return moe.own(moe.group().createHandle(layout, of.shape().topK(), config));
    }

    /** The handle whose turn it is. */
    private EpHandle next() {
        handles.addLast(handles.removeFirst());
        return handles.getLast();
    }

    /**
     * Runs the case; collective.
     *
     * @return the first difference, or null if everything is right
     */
    static @Nullable String run(CellCase of, Rank rank) {
        try (MoeRank moe = new MoeRank(rank.bootstrap(), rank.device(), of.groupConfig(), of.rows())) {
            CaseRun run = new CaseRun(of, rank, moe);
            if (of.masked >= 0) {
                moe.group().maskUpdate(RankMask.all(of.shape().ranks()).without(of.masked), run.stream);
                run.stream.await(LIMIT);
            }
            String failure = of.cell.mode() == RunMode.GRAPH && !run.isMasked()
                    ? run.replays()
                    : run.rounds(run::enqueue);
            // Nobody closes what others still use.
            rank.bootstrap().barrier();
            return failure;
        }
    }

    private @Nullable String rounds(IntConsumer step) {
        String failure = null;
        for (Round round : of.rounds) {
            load(round);
            if (!isMasked()) {
                step.accept(round.tokens(moe.rank()));
                stream.await(LIMIT);
                failure = failure != null ? failure : difference(round);
            } else if (meetsBetweenHalves()) {
                moe.bootstrap().barrier();
            }
        }
        return failure;
    }

    private @Nullable String replays() {
        try (CudaGraph graph = stream.capture(() -> enqueue(of.shape().maxTokens()));
                CudaGraphExec replay = graph.instantiate()) {
            return rounds(tokens -> replay.launch(stream));
        }
    }

    /**
     * The receive half of the real library's combine does not wait for the rows of the other ranks:
     * docs/evidence/hardware.md.
     */
    private boolean meetsBetweenHalves() {
        return of.cell.mode() == RunMode.STAGED && NativeLibraries.backend() == Backend.NATIVE;
    }

    private boolean isMasked() {
        return of.masked == moe.rank();
    }

    /** Puts a round's inputs into place; windows may be written by peers afterwards. */
    private void load(Round round) {
        layer.spoil();
        layer.load(round.sent());
        if (of.isBackward()) {
            HostMirror outputs = mirror(calls.combineInputs().tokens());
            HostMirror weights = mirror(calls.combineInputs().weights());
            int columns = of.cell.shape().hasRowPerExpert() ? 1 : of.shape().topK();
            layer.oracle(round.received()).backward(moe.rank(), gradients(round), (slot, row, values) -> {
                outputs.row(slot, row);
                for (int column = 0; column < values.length; column++) {
                    weights.floats(slot * columns + column, values[column]);
                }
            });
        }
        stream.await(LIMIT);
        moe.bootstrap().barrier();
    }

    private static WeightGradients gradients(Round round) {
        return (expert, source) -> TestExperts.gradient(expert, round.received().token(source));
    }

    private HostMirror mirror(@Nullable EpTensor tensor) {
        return Objects.requireNonNull(layer.mirror(tensor));
    }

    /** Backward, the experts' rows lie on the host. */
    private void experts() {
        if (of.isBackward()) {
            mirror(calls.combineInputs().tokens()).toDevice(stream);
            mirror(calls.combineInputs().weights()).toDevice(stream);
        } else {
            layer.experts(stream);
        }
    }

    private void enqueue(int count) {
        EpHandle handle = next();
        calls.rows(count);
        calls.update(handle, stream);
        if (of.cell.budget() == Budget.COUNTED) {
            stream.await(LIMIT);
            calls.receivedRows(mirror(calls.counters().receivedTotal()).fetch().integer(0));
        }
        rank.inTurn(() -> calls.dispatch(handle, stream));
        rank.inTurn(handle::complete);
        experts();
        rank.inTurn(() -> calls.combine(handle, stream));
        if (meetsBetweenHalves()) {
            stream.await(LIMIT);
            moe.bootstrap().barrier();
        }
        rank.inTurn(handle::complete);
    }

    private RowsWritten written() {
        if (of.cell.budget() == Budget.COUNTED) {
            return RowsWritten.COUNT;
        }
        return of.windows
                ? RowsWritten.WINDOW
                : of.cell.mode() == RunMode.GRAPH ? RowsWritten.BUDGET : RowsWritten.COUNT;
    }

    private @Nullable String difference(Round round) {
        try {
            layer.verify(round.received(), written(), LayerRows.UNTOUCHED);
            layer.verifyBehind(round.tokens(moe.rank()));
            if (of.isBackward()) {
                EpTensor weights = Objects.requireNonNull(calls.combineOutputs().weights());
                layer.oracle(round.received()).verifyGradients(moe.rank(), gradients(round),
                        mirror(weights).fetch().floats(), (int) weights.rows());
            }
            return null;
        } catch (Mismatch e) {
            return "rank " + moe.rank() + ", round " + of.rounds.indexOf(round) + ": " + e.getMessage();
        }
    }
}
