package io.nccl4j.examples.moe.http;

/** A request that is answered with an error: one sentence that says what was given and what is allowed. */
final class HttpFailure extends Exception {
    private static final long serialVersionUID = 1;

    private final int status;

    HttpFailure(int status, String message) {
        super(message);
        this.status = status;
    }

    int status() {
        return status;
    }
}
