package io.nccl4j.oracle;

import org.jspecify.annotations.Nullable;

/**
 * The rows of {@code outputs.tokens} of a dispatch.
 *
 * @param scales {@code outputs.scales}, or null if there are none
 */
public record ReceivedTokens(Rows tokens, @Nullable Rows scales) {

    /** Compares a row with what a source has sent. */
    void verifyRow(int row, GlobalInputs inputs, Source source, String what) {
        tokens.verifyRow(row, inputs.token(source), "tokens (" + what + ")");
        byte[] sent = inputs.scales(source);
        if (scales != null && sent != null) {
            scales.verifyRow(row, sent, "scales (" + what + ")");
        }
    }

    /** Checks that rows {@code from} (inclusive) to {@code to} (exclusive) hold nothing but {@code fill}. */
    void verifyFilled(int from, int to, byte fill, String what) {
        tokens.verifyFilled(from, to, fill, what + " tokens");
        if (scales != null) {
            scales.verifyFilled(from, to, fill, what + " scales");
        }
    }
}
