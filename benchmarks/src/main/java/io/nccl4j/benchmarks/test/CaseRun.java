package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.NativeLibraries;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.cuda.CudaGraph;
import io.nccl4j.cuda.CudaGraphExec;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.CombineConfig;
import io.nccl4j.ep.DispatchConfig;
import io.nccl4j.ep.DispatchRecipe;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.PassDirection;
import io.nccl4j.ep.RankMask;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.oracle.Mismatch;
import io.nccl4j.oracle.RowsWritten;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/** A rank's part in one case: several rounds of dispatch, experts and combine on one handle, each verified. */
final class CaseRun {
    private static final Duration LIMIT = Duration.ofSeconds(60);

    private final CellCase of;
    private final int rank;
    private final TestHandles handles;
    private final CudaStream stream;
    private final SendSide send;
    private final ReceiveSide receive;
    private final TestTensors tensors;

    private CaseRun(CellCase of, int rank, TestHandles handles, CudaStream stream, TestTensors tensors) {
        this.of = of;
        this.rank = rank;
        this.handles = handles;
        this.stream = stream;
        this.tensors = tensors;
        send = new SendSide(of, rank, tensors);
        receive = ReceiveSide.of(of, rank, tensors);
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
                TestTensors tensors = new TestTensors(communicator)) {
            CaseRun run = new CaseRun(of, rank.number(), handles, stream, tensors);
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
        tensors.fillOutputs(stream);
        send.load(round, stream);
        if (of.cell().direction() == PassDirection.BACKWARD) {
            receive.prepareBackward(round);
        }
        stream.await(LIMIT);
        peers.bootstrap().barrier();
    }

    private void enqueue(EpHandle handle, int count, Rank peers) {
        send.rows(count);
        handle.update(send.routing(), receive.updateInfo, stream);
        if (of.cell().budget() == Budget.COUNTED) {
            tensors.readOutputs(stream);
            stream.await(LIMIT);
            receive.sizeFromCounters();
        }
        handle.dispatch(send.inputs(), receive.dispatchOutputs, receive.dispatchInfo, dispatchConfig(), stream);
        handle.complete();
        tensors.readOutputs(stream);
        if (of.cell().direction() == PassDirection.FORWARD) {
            stream.launchHostFunction(receive::compute);
        } else {
            receive.uploadGradients(stream);
        }
        receive.uploadExpertRows(stream);
        handle.combine(receive.combineInputs, send.outputs(), combineConfig(), stream);
        if (meetsBetweenHalves()) {
            stream.await(LIMIT);
            peers.bootstrap().barrier();
        }
        handle.complete();
        send.readCombined(stream);
    }

    /** Null where everything is as C's NULL has it, so that both ways are used. */
    private @Nullable DispatchConfig dispatchConfig() {
        DispatchConfig config = DispatchConfig.defaults().direction(of.cell().direction())
                .recipe(of.cell().wire().recipe());
        if (of.cell().wire().recipe() == DispatchRecipe.DS_FP8E3M4) {
            config = config.roundScales(of.roundScales());
        }
        config = of.cell().mode() == RunMode.STAGED ? config.sendOnly() : config;
        return config == DispatchConfig.defaults() ? null : config;
    }

    private @Nullable CombineConfig combineConfig() {
        CombineConfig config = CombineConfig.defaults().direction(of.cell().direction())
                .recipe(of.cell().wire().combineRecipe());
        config = of.cell().mode() == RunMode.STAGED ? config.sendOnly() : config;
        return config == CombineConfig.defaults() ? null : config;
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
        try {
            receive.verify(round, written());
            send.verify(round, count, receive);
            return null;
        } catch (Mismatch e) {
            return "rank " + rank + ", round " + of.rounds().indexOf(round) + ": " + e.getMessage();
        }
    }
}
