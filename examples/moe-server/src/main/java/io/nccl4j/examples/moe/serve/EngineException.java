package io.nccl4j.examples.moe.serve;

/** A sequence is not taken on. */
public final class EngineException extends Exception {
    private static final long serialVersionUID = 1;

    /** Why. */
    public enum Reason {
        /** As many sequences wait as may. */
        QUEUE_FULL,
        /** The server is ending. */
        DRAINING,
        /** No rank is left. */
        NO_RANKS
    }

    private final Reason reason;

    EngineException(Reason reason, String message) {
        super(message);
        this.reason = reason;
    }

    public Reason reason() {
        return reason;
    }
}
