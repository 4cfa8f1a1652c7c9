package io.nccl4j.checks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.jspecify.annotations.Nullable;

/** A call ends with an exception of a class whose message has some words. */
public final class Refusals {
    private Refusals() {
    }

    /** The call came at a wrong time. */
    public static void assertIllegalState(ThrowingCallable call, String... words) {
        assertFailure(IllegalStateException.class, call, words);
    }

    /** The call was given something wrong. */
    public static void assertIllegalArgument(ThrowingCallable call, String... words) {
        assertFailure(IllegalArgumentException.class, call, words);
    }

    /** The call failed in this way. */
    public static void assertFailure(Class<? extends Throwable> kind, ThrowingCallable call, String... words) {
        assertThrown(kind, catchThrowable(call), words);
    }

    /** This came of a call that failed in this way. */
    public static void assertThrown(Class<? extends Throwable> kind, @Nullable Object thrown, String... words) {
        assertThat(thrown).isInstanceOf(kind);
        for (String word : words) {
            assertThat((Throwable) thrown).hasMessageContaining("%s", word);
        }
    }
}
