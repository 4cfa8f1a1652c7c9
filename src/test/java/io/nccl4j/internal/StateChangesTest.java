package io.nccl4j.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** Observers hear of the next change, whenever it comes. */
class StateChangesTest {
    private static final class Counter extends StateChanges.Observer {
        private final AtomicInteger told = new AtomicInteger();

        @Override
        protected void stateChanged() {
            told.incrementAndGet();
        }
    }

    private final Counter counter = new Counter();

    /** Until no test that runs beside this one interferes. */
    private void waitForChange() {
        int before;
        int told;
        do {
            told = counter.told.get();
            before = StateChanges.count();
            StateChanges.tellNext(counter, before);
        } while (counter.told.get() != told);
    }

    @Test
    void tellsOnceHoweverOftenItWasAsked() {
        waitForChange();
        waitForChange();
        int told = counter.told.get();
        StateChanges.add();
        StateChanges.add();
        assertThat(counter.told.get()).isEqualTo(told + 1);
    }

    @Test
    void tellsAgainWhoAsksAgain() {
        waitForChange();
        StateChanges.add();
        int told = counter.told.get();
        waitForChange();
        StateChanges.add();
        assertThat(counter.told.get()).isGreaterThan(told);
    }

    @Test
    void tellsAtOnceOfAChangeDuringTheCheck() {
        int before = StateChanges.count();
        StateChanges.add();
        StateChanges.tellNext(counter, before);
        assertThat(counter.told).hasValue(1);
        StateChanges.add();
        assertThat(counter.told).hasValue(1);
    }
}
