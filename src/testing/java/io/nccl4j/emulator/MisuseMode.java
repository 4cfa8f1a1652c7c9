package io.nccl4j.emulator;

/**
 * The emulator's answer where the real library would end the process: an assertion, a C++ exception, an exit, a
 * device trap.
 */
public enum MisuseMode {
    /** The same: a message, and the process ends. */
    ABORT,
    /** Records it for {@link Emulator#misuses()} and answers with an error. */
    REPORT
}
