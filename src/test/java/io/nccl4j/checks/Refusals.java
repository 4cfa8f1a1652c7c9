package io.nccl4j.checks;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;

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
        AbstractThrowableAssert<?, ?> thrown = assertThatThrownBy(call).isInstanceOf(kind);
        for (String word : words) {
            thrown.hasMessageContaining("%s", word);
        }
    }
}
