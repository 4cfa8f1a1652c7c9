package io.nccl4j.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.WaitTimeoutException;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Calls that wait for other ranks: given up when these can't come any more, not before they had time to end. */
@Timeout(60)
class BoundedCallTest {
    private static final Deadline FAR = Deadline.after(Duration.ofHours(1));

    @Test
    void isGivenUpOnceItIsHopeless() {
        CountDownLatch never = new CountDownLatch(1);
        try {
            assertThatThrownBy(() -> BoundedCall.run("a call", FAR, () -> await(never), () -> "rank 1 has gone"))
                    .isInstanceOf(WaitTimeoutException.class)
                    .hasMessage("a call cannot return any more, and goes on in the background: rank 1 has gone");
        } finally {
            never.countDown();
        }
    }

    @Test
    void returnsIfItEndsAfterThatAllTheSame() {
        CountDownLatch asked = new CountDownLatch(1);
        assertThat(BoundedCall.run("a call", FAR, () -> await(asked), () -> {
            asked.countDown();
            return "rank 1 has gone";
        })).isEqualTo(7);
    }

    @Test
    void waitsAsLongAsThereIsHope() {
        CountDownLatch asked = new CountDownLatch(3);
        assertThat(BoundedCall.run("a call", FAR, () -> await(asked), () -> {
            asked.countDown();
            return null;
        })).isEqualTo(7);
        assertThat(asked.getCount()).isZero();
    }

    private static int await(CountDownLatch latch) {
        try {
            latch.await();
            return 7;
        } catch (InterruptedException e) {
            throw new AssertionError(e);
        }
    }
}
