package io.nccl4j.oracle;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Rows that must all be there, each once, in whatever order. */
final class UnorderedRows {
    private final GlobalInputs inputs;
    private final List<Source> expected;

    UnorderedRows(GlobalInputs inputs, List<Source> expected) {
        this.inputs = inputs;
        this.expected = expected;
    }

    /**
     * Finds out which source each of the rows {@code first}, {@code first + 1}, ... came from.
     *
     * @throws Mismatch if they are not the expected rows
     */
    List<Source> match(ReceivedTokens rows, int first, String what) {
        Map<ByteBuffer, Deque<Source>> open = new HashMap<>();
        for (Source source : expected) {
            open.computeIfAbsent(key(inputs.token(source), inputs.scales(source)), k -> new ArrayDeque<>()).add(source);
        }
        List<Source> order = new ArrayList<>(expected.size());
        for (int row = first; row < first + expected.size(); row++) {
            byte[] token = rows.tokens().row(row);
            Deque<Source> sources = open.get(key(token, rows.scales() == null ? null : rows.scales().row(row)));
            if (sources == null || sources.isEmpty()) {
                throw new Mismatch(what + ": row " + row + " (" + Rows.hex(token, 0, token.length) + ") "
                        + (sources == null ? "is none of" : "occurs too often among") + " the rows of " + expected);
            }
            order.add(sources.remove());
        }
        return order;
    }

    private static ByteBuffer key(byte[] token, byte @Nullable [] scales) {
        ByteBuffer key = ByteBuffer.allocate(token.length + (scales == null ? 0 : scales.length)).put(token);
        return (scales == null ? key : key.put(scales)).flip();
    }
}
