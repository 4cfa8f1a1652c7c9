package io.nccl4j.examples.moe.rank;

/** A rank has ended, failed or does not answer. */
public final class RankLostException extends Exception {
    private static final long serialVersionUID = 1;

    public RankLostException(String message) {
        super(message);
    }
}
