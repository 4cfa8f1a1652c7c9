package io.nccl4j.safety.hostile;

import io.nccl4j.NativeCallException;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.emulator.Emulator;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import org.jspecify.annotations.Nullable;

/** The last calls of a rank of a hostile sequence, and the judgement of their results. */
final class HostileTrail {
    private static final int KEPT = 25;
    /** A call that waits this long counts as one that never ends. */
    private static final String FOR_EVER = " " + HostileScene.LIMIT.toMillis() + " ms";

    private final HostileSequence sequence;
    private final EmulatedRank rank;
    private final Deque<String> actions = new ArrayDeque<>();
    private int depth;

    HostileTrail(HostileSequence sequence, EmulatedRank rank) {
        this.sequence = sequence;
        this.rank = rank;
    }

    void note(String text) {
        actions.addLast(text);
        if (actions.size() > KEPT) {
            actions.removeFirst();
        }
        if (sequence.options.verbose()) {
            System.out.println("rank " + rank.rank() + "  ".repeat(depth) + " " + text);
        }
    }

    /** Runs calls that a callback makes, unless callbacks would call each other for ever. */
    void nest(Runnable calls) {
        if (depth > 1) {
            return;
        }
        depth++;
        try {
            calls.run();
        } finally {
            depth--;
        }
    }

    HostileFailure failure(String what, @Nullable Throwable cause) {
        return sequence.failure(actions, what, cause);
    }

    /** A device is lost by a fault or not at all, and misuse does not come as far as the library. */
    void observe() {
        sequence.checkMisuse(actions);
        if (rank.device().observe() != null && !sequence.isFaulted()) {
            throw failure("the device was lost without a fault: " + Emulator.errorText(rank.device()), null);
        }
    }

    /**
     * One word for what was thrown, the same on all ranks, if it is documented; else the end of the sequence.
     *
     * @param nullGiven whether an argument was null
     */
    String outcome(String what, Throwable thrown, boolean nullGiven) {
        note("    " + brief(thrown));
        if (thrown instanceof HostileFailure found) {
            throw found;
        }
        if (thrown instanceof NativeCallException call) {
            return nativeError(call);
        }
        if (thrown instanceof WaitTimeoutException wait) {
            return timeout(what, wait);
        }
        if (sequence.isFaulted() && hasNativeCause(thrown)) {
            sequence.breakWaits(brief(thrown));
        }
        boolean documented = thrown instanceof IllegalArgumentException || thrown instanceof IllegalStateException
                || thrown instanceof UnsupportedOperationException || thrown instanceof ArgumentSource.Broken
                || nullGiven && thrown instanceof NullPointerException
                // Of the JDK's segments.
                || what.contains("Float16.") && thrown instanceof IndexOutOfBoundsException;
        if (!documented) {
            throw failure(what + " threw what is not documented", thrown);
        }
        // A host function fails when it runs, which others may or may not see.
        boolean late = thrown instanceof ArgumentSource.Broken
                || String.valueOf(thrown.getMessage()).contains("host function");
        return late && !sequence.isFaulted() ? HostileSequence.TIMED : "refused";
    }

    private static boolean hasNativeCause(Throwable thrown) {
        Throwable cause = thrown.getCause();
        return cause instanceof NativeCallException || cause != null && hasNativeCause(cause)
                || Arrays.stream(thrown.getSuppressed()).anyMatch(NativeCallException.class::isInstance);
    }

    private String nativeError(NativeCallException call) {
        if (sequence.isFaulted()) {
            sequence.breakWaits(call.function());
            return "native error";
        }
        String function = call.function().replaceAll("\\(.*", "");
        sequence.statistics.nativeError(function + " " + call.code());
        observe();
        if (function.startsWith("ncclEp")) {
            throw failure("the library has refused what no rule has", call);
        }
        return "native error of " + function + " " + call.code();
    }

    private String timeout(String what, WaitTimeoutException wait) {
        if (sequence.isFaulted()) {
            sequence.breakWaits("time is up");
            return "wait";
        }
        if (wait.getMessage().contains(FOR_EVER)) {
            throw failure(what + " has waited for ever", wait);
        }
        return HostileSequence.TIMED;
    }

    private static String brief(Throwable e) {
        String text = String.valueOf(e.getMessage());
        return e.getClass().getSimpleName() + ": " + (text.length() > 200 ? text.substring(0, 200) : text);
    }
}
