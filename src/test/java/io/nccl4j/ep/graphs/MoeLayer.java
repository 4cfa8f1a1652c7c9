package io.nccl4j.ep.graphs;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PinnedMemory;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Layout;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.GlobalInputs;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.Rows;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * A MoE layer on one rank: buffers, experts as work of a stream, and what a test writes and reads. Emulated device memory lies in the
 * process, so that experts are Java functions in stream order.
 */
final class MoeLayer implements AutoCloseable {
    private static final byte STALE = 0x5a;
    private static final byte GARBAGE = 0x7e;

    private final MoeRank of;
    private final Quantisation quantisation;
    private final EpBuffers buffers;
    private final EpHandle handle;
    private final boolean owner;
    private final NumberFormat format;
    private final int topK;
    /** Of an output. */
    private final int rowBytes;
    private final PinnedMemory tokens;
    private final @Nullable PinnedMemory scales;
    private final PinnedMemory routing;
    private final PinnedMemory weights;

    MoeLayer(MoeRank of, EpBuffers buffers, boolean owner) {
        this(of, Quantisation.PLAIN, buffers, owner);
    }

    MoeLayer(MoeRank of, Quantisation quantisation, EpBuffers buffers, boolean owner) {
        this.of = of;
        this.quantisation = quantisation;
        this.buffers = buffers;
        this.handle = buffers.handle();
        this.owner = owner;
        this.format = of.model().format();
        this.topK = of.model().shape().topK();
        this.rowBytes = of.model().hidden() * format.bytes();
        this.tokens = PinnedMemory.allocate(of.rank().device(), buffers.tokens().byteSize());
        this.scales = quantisation == Quantisation.FORWARDED
                ? PinnedMemory.allocate(of.rank().device(), buffers.scales().byteSize())
                : null;
        this.routing = PinnedMemory.allocate(of.rank().device(), buffers.routing().byteSize());
        this.weights = PinnedMemory.allocate(of.rank().device(), buffers.weights().byteSize());
    }

    EpHandle handle() {
        return handle;
    }

    EpBuffers buffers() {
        return buffers;
    }

    /** Tokens of a case on this rank. */
    int tokens(EpCase batch) {
        return batch.inputs().routing().tokens(of.rank().rank());
    }

    /** Enqueues the copy of a batch into the buffers; the rows of routing behind it are -1, the other rows there are garbage. */
    void load(EpCase batch, CudaStream stream) {
        of.stream().await(MoeRank.LIMIT);
        int self = of.rank().rank();
        int count = tokens(batch);
        GlobalInputs given = quantisation.given(batch);
        tokens.segment().fill(GARBAGE);
        weights.segment().fill(GARBAGE);
        routing.segment().fill((byte) -1);
        for (int token = 0; token < count; token++) {
            copyRow(given.tokens()[self][token], tokens, token);
            if (scales != null) {
                copyRow(given.scales()[self][token], scales, token);
            }
            for (int k = 0; k < topK; k++) {
                long at = (long) token * topK + k;
                routing.segment().setAtIndex(JAVA_LONG, at, batch.inputs().routing().of(self)[token][k]);
                weights.segment().setAtIndex(JAVA_FLOAT, at, batch.inputs().weights()[self][token][k]);
            }
        }
        buffers.tokens().memory().copyFromAsync(tokens, tokens.byteSize(), stream);
        if (scales != null) {
            buffers.scales().memory().copyFromAsync(scales, scales.byteSize(), stream);
        }
        buffers.routing().memory().copyFromAsync(routing, routing.byteSize(), stream);
        buffers.weights().memory().copyFromAsync(weights, weights.byteSize(), stream);
    }

    private static void copyRow(byte[] row, PinnedMemory to, int index) {
        MemorySegment.copy(row, 0, to.segment(), JAVA_BYTE, (long) index * row.length, row.length);
    }

    /** Makes sure that no result is one of a former run. */
    void spoil() {
        of.stream().await(MoeRank.LIMIT);
        for (EpTensor tensor : new EpTensor[]{buffers.received(), buffers.expertOutputs(), buffers.combined(),
                counts()}) {
            device(tensor).fill(STALE);
        }
        if (hasReceivedScales()) {
            device(buffers.receivedScales()).fill(STALE);
        }
    }

    /** Dispatch, experts and combine with a T. */
    void enqueue(int count, CudaStream stream) {
        handle.dispatchAsync(buffers, count, stream);
        experts(stream);
        handle.combineAsync(buffers, stream);
    }

    /** Enqueues the experts. */
    void experts(CudaStream stream) {
        stream.launchHostFunction(this::computeExperts);
        if (stream.isCapturing()) {
            stream.retain(buffers);
        }
    }

    private EpTensor counts() {
        return handle.layout() == Layout.RANK_MAJOR ? buffers.sourceRankCounts() : buffers.expertCounts();
    }

    /** Runs in stream order: what an expert kernel does with what was received. */
    private void computeExperts() {
        Experts experts = new Experts(of.model(), of.rank().rank());
        MemorySegment in = device(buffers.received());
        MemorySegment out = device(buffers.expertOutputs());
        int[] count = device(counts()).toArray(JAVA_INT);
        switch (of.kind()) {
            case LL_EXPERT_MAJOR -> {
                int zone = of.model().shape().ranks() * of.model().shape().maxTokens();
                for (int local = 0; local < count.length; local++) {
                    for (int row = local * zone; row < local * zone + count[local]; row++) {
                        put(out, row, experts.apply(local, row(in, row)));
                    }
                }
            }
            case LL_RANK_MAJOR -> {
                int region = of.model().shape().maxTokens();
                int[] ids = device(buffers.receivedIndices()).toArray(JAVA_INT);
                float[] received = device(buffers.receivedWeights()).toArray(JAVA_FLOAT);
                for (int from = 0; from < count.length; from++) {
                    for (int row = from * region; row < from * region + count[from]; row++) {
                        int[] own = Arrays.copyOfRange(ids, row * topK, (row + 1) * topK);
                        put(out, row, experts.reduce(own, Arrays.copyOfRange(received, row * topK, (row + 1) * topK),
                                row(in, row)));
                    }
                }
            }
            case HT_FLAT -> {
                long[] ids = device(buffers.receivedIndices()).toArray(JAVA_LONG);
                float[] received = device(buffers.receivedWeights()).toArray(JAVA_FLOAT);
                int total = device(buffers.receivedTotal()).get(JAVA_INT, 0);
                for (int row = 0; row < total; row++) {
                    int[] own = Arrays.stream(ids, row * topK, (row + 1) * topK).mapToInt(Math::toIntExact).toArray();
                    put(out, row, experts.reduce(own, Arrays.copyOfRange(received, row * topK, (row + 1) * topK),
                            row(in, row)));
                }
            }
            case HT_EXPERT_MAJOR -> {
                int[] offset = device(buffers.expertOffsets()).toArray(JAVA_INT);
                float[] received = device(buffers.receivedWeights()).toArray(JAVA_FLOAT);
                for (int local = 0; local < count.length; local++) {
                    for (int row = offset[local]; row < offset[local] + count[local]; row++) {
                        put(out, row, experts.reduce(new int[]{local}, new float[]{received[row]}, row(in, row)));
                    }
                }
            }
        }
    }

    private boolean hasReceivedScales() {
        return buffers.config().scaleType() != null;
    }

    /** A received row as experts see it. */
    private byte[] row(MemorySegment rows, int index) {
        byte[] row = row(rows, index, receivedBytes());
        byte[] with = hasReceivedScales() ? row(device(buffers.receivedScales()), index, scaleBytes()) : new byte[0];
        return quantisation.seen(row, with, format);
    }

    private static byte[] row(MemorySegment rows, int index, int bytes) {
        return rows.asSlice((long) index * bytes, bytes).toArray(JAVA_BYTE);
    }

    private void put(MemorySegment rows, int index, byte[] row) {
        MemorySegment.copy(row, 0, rows, JAVA_BYTE, (long) index * rowBytes, rowBytes);
        if (quantisation == Quantisation.NVFP4_COMBINE) {
            device(buffers.expertOutputScales()).setAtIndex(JAVA_FLOAT, index, Quantisation.outputScale(row, format));
        }
    }

    /** Of a received row. */
    int receivedBytes() {
        return buffers.config().tokenElements() * buffers.config().receivedType().byteSize();
    }

    /** Of the scales of a received row. */
    int scaleBytes() {
        return hasReceivedScales() ? buffers.config().scaleElements() * Float.BYTES : 0;
    }

    /** What the run that was enqueued last has given; waits for it. */
    LayerResult result(int count) {
        of.stream().await(MoeRank.LIMIT);
        boolean rankMajor = handle.layout() == Layout.RANK_MAJOR;
        boolean flat = handle.layout() == Layout.FLAT;
        boolean zones = of.kind() == LayerKind.HT_EXPERT_MAJOR;
        return new LayerResult(device(counts()).toArray(JAVA_INT),
                zones ? device(buffers.expertOffsets()).toArray(JAVA_INT) : null,
                flat || zones ? device(buffers.receivedTotal()).get(JAVA_INT, 0) : -1,
                new Rows(device(buffers.received()).toArray(JAVA_BYTE), receivedBytes()),
                hasReceivedScales()
                        ? new Rows(device(buffers.receivedScales()).toArray(JAVA_BYTE), scaleBytes())
                        : null,
                rankMajor
                        ? Arrays.stream(device(buffers.receivedIndices()).toArray(JAVA_INT)).asLongStream().toArray()
                        : flat ? device(buffers.receivedIndices()).toArray(JAVA_LONG) : null,
                rankMajor || flat || zones ? device(buffers.receivedWeights()).toArray(JAVA_FLOAT) : null,
                new Rows(device(buffers.combined()).asSlice(0, (long) count * rowBytes).toArray(JAVA_BYTE), rowBytes));
    }

    /** Compares a result with what the oracle says of a batch. */
    void verify(EpCase batch, LayerResult result) {
        new LayerOracle(of, quantisation, batch, of.group().sizing().receiveRows()).verify(result);
    }

    private static MemorySegment device(EpTensor tensor) {
        return MemorySegment.ofAddress(tensor.address()).reinterpret(tensor.byteSize());
    }

    @Override
    public void close() {
        tokens.close();
        if (scales != null) {
            scales.close();
        }
        routing.close();
        weights.close();
        if (owner) {
            buffers.close();
            handle.close();
        }
    }
}
