package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.ep.RankMask;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.Routing;
import io.nccl4j.oracle.Rows;
import io.nccl4j.oracle.RowsWritten;
import io.nccl4j.oracle.Source;
import io.nccl4j.testing.HostMirror;
import io.nccl4j.testing.LayerCalls;
import io.nccl4j.testing.LayerKind;
import io.nccl4j.testing.LayerOracle;
import io.nccl4j.testing.MoeLayer;
import java.time.Duration;
import java.util.Arrays;
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
                CellTensors tensors = new CellTensors(of, communicator);
                MoeLayer layer = new MoeLayer(handles.next(), tensors.calls(), of.rows(), of.experts())) {
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
            failure = failure != null ? failure : difference(round, round.tokens(rank));
        }
        return failure;
    }

    /**
     * The receive half of the real library's combine does not wait for the rows of the other ranks: docs/hardware.md.
     */
    private boolean meetsBetweenHalves() {
        return of.cell().mode() == RunMode.STAGED && NativeLibraries.backend() == Backend.NATIVE;
    }

    private boolean isMasked() {
        return of.masked() == rank;
    }

    private boolean isForward() {
        return of.cell().direction() == PassDirection.FORWARD;
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
                failure = failure != null ? failure : difference(round, count);
            }
        }
        return failure;
    }

    /** Puts a round's inputs into place; windows may be written by peers afterwards. */
    private void load(Round round, Rank peers) {
        layer.spoil(stream);
        layer.load(round.sent(), stream);
        if (!isForward()) {
            putGradients(of.oracle(round));
        }
        stream.await(LIMIT);
        peers.bootstrap().barrier();
    }

    /** Backward: the experts' rows and the gradients of their weights, where the rows of the round will be. */
    private void putGradients(LayerOracle oracle) {
        HostMirror rows = layer.mirror(calls.combineInputs().tokens());
        HostMirror gradients = layer.mirror(calls.combineInputs().weights());
        Routing routing = oracle.inputs().routing();
        boolean flat = of.cell().shape() == LayerKind.HT_FLAT;
        for (Source source : routing.sources()) {
            byte[] received = oracle.inputs().token(source);
            int column = 0;
            for (int local : routing.localExperts(source, rank)) {
                int expert = rank * of.shape().localExperts() + local;
                long slot = flat
                        ? oracle.flatSlots().slot(source, rank)
                        : oracle.zoneSlots().slot(source, expert);
                if (slot >= 0) {
                    rows.row(slot, of.experts().output(new int[]{expert}, new float[1], received, null));
                    gradients.floats(flat ? slot * of.shape().topK() + column++ : slot,
                            TestExperts.gradient(expert, received));
                }
            }
        }
    }

    private void enqueue(EpHandle handle, int count, Rank peers) {
        calls.rows(count);
        calls.update(handle, stream);
        if (of.cell().budget() == Budget.COUNTED) {
            stream.await(LIMIT);
            sizeFromCounters();
        }
        handle.dispatch(calls.inputs(), calls.outputs(), calls.dispatchInfo(), calls.dispatchConfig(), stream);
        handle.complete();
        if (isForward()) {
            layer.experts(stream);
        } else {
            layer.mirror(calls.combineInputs().tokens()).toDevice(stream);
            layer.mirror(calls.combineInputs().weights()).toDevice(stream);
        }
        handle.combine(calls.combineInputs(), calls.combineOutputs(), calls.combineConfig(), stream);
        if (meetsBetweenHalves()) {
            stream.await(LIMIT);
            peers.bootstrap().barrier();
        }
        handle.complete();
    }

    /** Without a budget the tensors of received rows get as many as there are. */
    private void sizeFromCounters() {
        long total = layer.mirror(calls.counters().receivedTotal()).fetch().integer(0);
        for (EpTensor sized : Arrays.asList(calls.outputs().tokens(), calls.outputs().scales(),
                calls.outputs().weights(), calls.outputs().indices(), calls.combineInputs().tokens(),
                calls.combineInputs().weights())) {
            if (sized != null) {
                sized.rows(total);
            }
        }
    }

    private RowsWritten written() {
        if (of.cell().budget() == Budget.COUNTED) {
            return RowsWritten.COUNT;
        }
        return of.windows()
                ? RowsWritten.WINDOW
                : of.cell().mode() == RunMode.GRAPH ? RowsWritten.BUDGET : RowsWritten.COUNT;
    }

    private @Nullable String difference(Round round, int count) {
        LayerOracle oracle = of.oracle(round);
        try {
            layer.verify(oracle, written(), MoeLayer.UNTOUCHED);
            Rows combined = layer.combined();
            combined.verifyFilled(round.tokens(rank), count, (byte) 0, "combined, tokens without experts");
            combined.verifyFilled(count, combined.count(), MoeLayer.UNTOUCHED, "combined, unused rows");
            if (!isForward()) {
                verifyGradients(oracle, count);
            }
            return null;
        } catch (Mismatch e) {
            return "rank " + rank + ", round " + of.rounds().indexOf(round) + ": " + e.getMessage();
        }
    }

    private void verifyGradients(LayerOracle oracle, int count) {
        float[] gradients = layer.mirror(calls.combineOutputs().weights()).fetch().floats();
        int topK = of.shape().topK();
        float[][] expected = oracle.combinedWeights(rank,
                (expert, source) -> TestExperts.gradient(expert, oracle.inputs().token(source)));
        for (int token = 0; token < count; token++) {
            float[] wanted = token < expected.length ? expected[token] : new float[topK];
            float[] found = Arrays.copyOfRange(gradients, token * topK, (token + 1) * topK);
            if (!Arrays.equals(wanted, found)) {
                throw new Mismatch("gradients of the weights of token " + token + ": " + Arrays.toString(found)
                        + ", expected " + Arrays.toString(wanted));
            }
        }
    }
}
