package io.nccl4j;

import io.nccl4j.internal.FlightRecording;

/**
 * A native call answered with an error code. The message holds the C function, the code with its name, and the text
 * that the library itself gives for it.
 */
public abstract class NativeCallException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** The C function that failed. */
    private final String function;
    /** The code that it returned. */
    private final int code;

    /**
     * Makes it.
     *
     * @param function the C function that failed
     * @param code the code it returned
     * @param message the whole message
     */
    protected NativeCallException(String function, int code, String message) {
        super(message);
        this.function = function;
        this.code = code;
        FlightRecording.error(function, code, message);
    }

    /** {@return the C function that failed, for example {@code ncclEpDispatch}} */
    public final String function() {
        return function;
    }

    /** {@return the code it returned, as the C enum has it} */
    public final int code() {
        return code;
    }
}
