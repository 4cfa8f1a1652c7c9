package io.nccl4j;

import java.util.List;

/**
 * The native libraries cannot be used: one is missing, does not load, or is of a version that does not fit. Lists every
 * place that was tried with the reason that the dynamic linker gave. Not remembered: the next first use tries again.
 */
public final class NativeLibraryException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final transient List<String> attempts;

    /**
     * Makes it.
     *
     * @param message what is wrong and what to do
     * @param attempts each place tried, with its outcome
     */
    public NativeLibraryException(String message, List<String> attempts) {
        super(attempts.isEmpty() ? message : message + "\n  tried:\n    " + String.join("\n    ", attempts));
        this.attempts = List.copyOf(attempts);
    }

    /** {@return each place tried, with its outcome} */
    public List<String> attempts() {
        return attempts;
    }
}
