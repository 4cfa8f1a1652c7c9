package io.nccl4j.examples.moe.model;

/** A model that cannot be served, said in one sentence for whoever started the server. */
public final class ModelException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public ModelException(String message) {
        super(message);
    }

    public ModelException(String message, Throwable cause) {
        super(message, cause);
    }
}
