package io.nccl4j.safety.kill;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/** A signal of Linux that is sent to a process. */
enum Signal {
    /** Ends the process at once. */
    KILL(9),
    /** The process stands still until it is continued. */
    STOP(19),
    /** Shuts the JVM down. */
    TERM(15),
    /** The same, as by the keyboard. */
    INT(2),
    /** Continues a stopped process. */
    CONT(18),
    /** Makes a JVM print its threads. */
    QUIT(3);

    private static final MethodHandle HANDLE = Linker.nativeLinker().downcallHandle(
            Linker.nativeLinker().defaultLookup().findOrThrow("signal"),
            FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_INT, ValueLayout.ADDRESS));
    private static final MethodHandle SEND = Linker.nativeLinker().downcallHandle(
            Linker.nativeLinker().defaultLookup().findOrThrow("kill"),
            FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_INT, ValueLayout.JAVA_INT));

    private final int number;

    Signal(int number) {
        this.number = number;
    }

    /** Lets processes that this one starts be ended by it: those of a shell's background job ignore an interrupt. */
    void letChildrenReceive() {
        try {
            MemorySegment before = (MemorySegment) HANDLE.invokeExact(number, MemorySegment.NULL);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
    }

    void send(long pid) {
        int result;
        try {
            result = (int) SEND.invokeExact((int) pid, number);
        } catch (Throwable e) {
            throw new AssertionError(e);
        }
        if (result != 0) {
            throw new IllegalStateException(this + " was not sent to process " + pid);
        }
    }

    /** The exit code that a shell gives a process that it has ended. */
    int exitCode() {
        return 128 + number;
    }
}
