package io.nccl4j.oracle;

/** A device's output differs from the expected one; the message names the first difference. */
public final class Mismatch extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public Mismatch(String message) {
        super(message);
    }
}
