package io.nccl4j.benchmarks.cluster;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.nccl4j.benchmarks.layer.DrawnRouting;
import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.benchmarks.layer.RankLayer;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Layout;
import io.nccl4j.oracle.NumberFormat;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.HashSet;
import java.util.Set;

/**
 * One dispatch and one combine of a layer whose experts give back what they get, every row compared with what the routing says. Rows
 * as they are only: what quantisation does to them is what {@code ep test} verifies.
 */
final class LayerValidation {
    private final RankLayer layer;
    private final DrawnRouting routing;
    private final LayerShape shape;
    private final EpBuffers buffers;
    private final TokenPattern pattern;
    private final int rank;

    LayerValidation(RankLayer layer, DrawnRouting routing) {
        this.layer = layer;
        this.routing = routing;
        shape = routing.shape();
        buffers = layer.buffers();
        rank = layer.rank().number();
        NumberFormat format = switch (shape.type()) {
            case BFLOAT16 -> NumberFormat.BFLOAT16;
            case FLOAT16 -> NumberFormat.FLOAT16;
            case FLOAT32 -> NumberFormat.FLOAT32;
            default -> throw new IllegalArgumentException("tokens of " + shape.type());
        };
        pattern = new TokenPattern(format, shape.hidden());
    }

    /**
     * Runs it; collective.
     *
     * @throws ValidationException if a row or a counter is wrong
     */
    void run() {
        writeTokens();
        layer.update();
        layer.dispatch();
        layer.synchronize();
        passReceivedThroughExperts();
        layer.combine();
        layer.synchronize();
        checkCombined();
    }

    private void writeTokens() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment rows = arena.allocate(buffers.tokens().byteSize());
            for (int token = 0; token < routing.tokens(rank); token++) {
                MemorySegment.copy(pattern.row(rank, token), 0, rows, JAVA_BYTE, (long) token * pattern.rowBytes(),
                        pattern.rowBytes());
            }
            withBytes(buffers.tokens(), 0, rows.byteSize(), memory -> memory.copyFrom(rows));
        }
    }

    private void passReceivedThroughExperts() {
        switch (shape.layout()) {
            case FLAT -> passZone(0, ints(buffers.receivedTotal())[0], -1, -1);
            case RANK_MAJOR -> {
                int[] counts = ints(buffers.sourceRankCounts());
                for (int source = 0; source < shape.ranks(); source++) {
                    passZone((long) source * shape.tokens(), counts[source], source, -1);
                }
            }
            case EXPERT_MAJOR -> {
                int[] counts = ints(buffers.expertCounts());
                int[] offsets = shape.isLowLatency() ? null : ints(buffers.expertOffsets());
                for (int expert = 0; expert < shape.localExperts(); expert++) {
                    long zone = offsets == null ? (long) expert * shape.ranks() * shape.tokens() : offsets[expert];
                    passZone(zone, counts[expert], -1, rank * shape.localExperts() + expert);
                }
            }
        }
    }

    /**
     * Checks that a zone holds the rows that it should, in any order, and gives them back as the experts' outputs.
     *
     * @param source the rank they come from, or -1 for any
     * @param expert the expert they are for, or -1 for any of this rank
     */
    private void passZone(long first, int count, int source, int expert) {
        Set<Long> wanted = expected(source, expert);
        String zone = "zone of " + (source >= 0 ? "rank " + source : expert >= 0 ? "expert " + expert : "all");
        require(count == wanted.size(), "%s: %d rows received instead of %d", zone, count, wanted.size());
        if (count == 0) {
            return;
        }
        long bytes = (long) count * pattern.rowBytes();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment rows = arena.allocate(bytes);
            withBytes(buffers.received(), first * pattern.rowBytes(), bytes, memory -> memory.copyTo(rows));
            byte[] row = new byte[pattern.rowBytes()];
            for (int i = 0; i < count; i++) {
                MemorySegment.copy(rows, JAVA_BYTE, (long) i * row.length, row, 0, row.length);
                require(wanted.remove(pattern.identify(row)), "%s: row %d is no token that goes there", zone, i);
            }
            withBytes(buffers.expertOutputs(), first * pattern.rowBytes(), bytes, memory -> memory.copyFrom(rows));
        }
    }

    private Set<Long> expected(int onlySource, int onlyExpert) {
        Set<Long> tokens = new HashSet<>();
        for (int source = 0; source < shape.ranks(); source++) {
            for (int token = 0; token < routing.tokens(source); token++) {
                for (int k = 0; k < shape.topK(); k++) {
                    int expert = routing.expert(source, token, k);
                    if (shape.owner(expert) == rank && (onlySource < 0 || source == onlySource)
                            && (onlyExpert < 0 || expert == onlyExpert)) {
                        tokens.add(TokenPattern.key(source, token));
                    }
                }
            }
        }
        return tokens;
    }

    private void checkCombined() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment rows = arena.allocate(buffers.combined().byteSize());
            withBytes(buffers.combined(), 0, rows.byteSize(), memory -> memory.copyTo(rows));
            byte[] row = new byte[pattern.rowBytes()];
            for (int token = 0; token < routing.tokens(rank); token++) {
                MemorySegment.copy(rows, JAVA_BYTE, (long) token * row.length, row, 0, row.length);
                int element = pattern.differsFrom(row, rank, token, factor(token));
                require(element < 0, "combined token %d differs in element %d", token, element);
            }
        }
    }

    /** What combine makes of a token that comes back unchanged: the sum of its weights, or of its rows. */
    private double factor(int token) {
        if (shape.layout() == Layout.EXPERT_MAJOR) {
            return shape.isLowLatency() ? 1 : shape.topK();
        }
        Set<Integer> owners = new HashSet<>();
        for (int k = 0; k < shape.topK(); k++) {
            owners.add(shape.owner(routing.expert(rank, token, k)));
        }
        return owners.size();
    }

    private int[] ints(EpTensor tensor) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment values = arena.allocate(tensor.byteSize());
            withBytes(tensor, 0, values.byteSize(), memory -> memory.copyTo(values));
            return values.toArray(JAVA_INT);
        }
    }

    private interface Access {
        void to(DeviceMemory memory);
    }

    private static void withBytes(EpTensor tensor, long offset, long bytes, Access access) {
        // A tensor in a window need not start where its memory does.
        long start = tensor.address() - tensor.memory().address() + offset;
        try (DeviceMemory part = tensor.memory().slice(start, bytes)) {
            access.to(part);
        }
    }

    private void require(boolean holds, String message, Object... arguments) {
        if (!holds) {
            throw new ValidationException("rank " + rank + ": " + String.format(message, arguments));
        }
    }
}
