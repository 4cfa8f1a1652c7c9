package io.nccl4j;

/** A wait for device work or for other ranks reached its limit. What was waited for is still pending. */
public final class WaitTimeoutException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes it.
     *
     * @param message what was waited for, and for how long
     */
    public WaitTimeoutException(String message) {
        super(message);
    }
}
