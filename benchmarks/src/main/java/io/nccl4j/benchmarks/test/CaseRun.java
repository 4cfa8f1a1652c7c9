package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.ep.RankMask;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerTensors;
import io.nccl4j.testing.MoeLayer;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/** A rank's part in one case: several rounds of dispatch, experts and combine on one handle, each verified. */
final class CaseRun {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final CellCase of;
    private final int rank;
    private final TestHandles handles;
    private final CudaStream stream;
    private final LayerCalls calls;
    private final MoeLayer layer;

    private CaseRun(CellCase of, int rank, TestHandles handles, CudaStream stream, MoeLayer layer) {
        this.of = of;
        this.rank = rank;
        this.handles = handles;
        this.stream = stream;
        this.layer = layer;
        calls = layer.calls();
    }

    /**
     * Runs the case; collective.
     *
     * @return the first difference, or null if everything is right
     */
    static @Nullable String run(CellCase of, Rank rank) {
        try (Communicator communicator = Communicator.init(rank.bootstrap(), rank.device());
                CudaStream stream = CudaStream.create(rank.device());
                EpGroup group = EpGroup.create(communicator, of.groupConfig());
                TestHandles handles = new TestHandles(of, group);
                LayerTensors tensors = of.tensors(handles.next());
                MoeLayer layer = new MoeLayer(handles.next(), of.calls(tensors), of.rows(), of.experts(), stream)) {
            layer.mode(of.expertMajorMode());
            CaseRun run = new CaseRun(of, rank.number(), handles, stream, layer);
            if (of.masked() >= 0) {
                group.maskUpdate(RankMask.all(of.shape().ranks()).without(of.masked()), stream);
                stream.await(LIMIT);
            }
            String failure = of.cell().mode() == RunMode.GRAPH ? run.replays(rank) : run.rounds(rank);
            // Nobody closes what others still use.
            rank.bootstrap().barrier();
            return failure;
        }
    }

    private @Nullable String rounds(Rank peers) {
        String failure = null;
        for (Round round : of.rounds()) {
            load(round, peers);
            if (isMasked()) {
                if (meetsBetweenHalves()) {
                    peers.bootstrap().barrier();
                }
                continue;
            }
            enqueue(handles.next(), round.tokens(rank), peers);
            stream.await(LIMIT);
            failure = failure != null ? failure : difference(round);
        }
        return failure;
    }

    /**
     * The receive half of the real library's combine does not wait for the rows of the other ranks:
     * docs/evidence/hardware.md.
     */
    private boolean meetsBetweenHalves() {
        return of.cell().mode() == RunMode.STAGED && NativeLibraries.backend() == Backend.NATIVE;
    }

    private boolean isMasked() {
        return of.masked() == rank;
    }

    private @Nullable String replays(Rank peers) {
        String failure = null;
        if (isMasked()) {
            of.rounds().forEach(round -> load(round, peers));
            return null;
        }
        int count = of.shape().maxTokens();
        try (CudaGraph graph = stream.capture(() -> enqueue(handles.next(), count, peers));
                CudaGraphExec replay = graph.instantiate()) {
            for (Round round : of.rounds()) {
                load(round, peers);
                replay.launch(stream);
                stream.await(LIMIT);
                failure = failure != null ? failure : difference(round);
            }
        }
        return failure;
    }

    /** Puts a round's inputs into place; windows may be written by peers afterwards. */
    private void load(Round round, Rank peers) {
        layer.spoil();
        layer.load(round.sent());
        if (of.cell().direction() == PassDirection.BACKWARD) {
            layer.gradients(round.received(),
                    (expert, source) -> TestExperts.gradient(expert, round.received().token(source)));
        }
        stream.await(LIMIT);
        peers.bootstrap().barrier();
    }

    private void enqueue(EpHandle handle, int count, Rank peers) {
        calls.rows(count);
        calls.update(handle, stream);
        if (of.cell().budget() == Budget.COUNTED) {
            stream.await(LIMIT);
            calls.receivedRows(layer.mirror(calls.counters().receivedTotal()).fetch().integer(0));
        }
        handle.dispatch(calls.inputs(), calls.outputs(), calls.dispatchInfo(), calls.dispatchConfig(), stream);
        handle.complete();
        layer.experts();
        handle.combine(calls.combineInputs(), calls.combineOutputs(), calls.combineConfig(), stream);
        if (meetsBetweenHalves()) {
            stream.await(LIMIT);
            peers.bootstrap().barrier();
        }
        handle.complete();
    }

    private RowsWritten written() {
        if (of.cell().budget() == Budget.COUNTED) {
            return RowsWritten.COUNT;
        }
        return of.windows()
                ? RowsWritten.WINDOW
                : of.cell().mode() == RunMode.GRAPH ? RowsWritten.BUDGET : RowsWritten.COUNT;
    }

    private @Nullable String difference(Round round) {
        try {
            layer.verify(round.received(), written(), MoeLayer.UNTOUCHED);
            return null;
        } catch (Mismatch e) {
            return "rank " + rank + ", round " + of.rounds().indexOf(round) + ": " + e.getMessage();
        }
    }
}
