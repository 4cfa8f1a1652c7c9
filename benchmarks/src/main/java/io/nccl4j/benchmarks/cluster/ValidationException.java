package io.nccl4j.benchmarks.cluster;

/** A row or a counter is not what the routing says. */
final class ValidationException extends RuntimeException {
    private static final long serialVersionUID = 1;

    ValidationException(String message) {
        super(message);
    }
}
