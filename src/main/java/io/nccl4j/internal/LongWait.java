package io.nccl4j.internal;

import java.time.Duration;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Tells of waits that last longer than a second, so that nobody wonders at a silent process. */
public final class LongWait {
    private static final Duration NOTICE = Duration.ofSeconds(1);
    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.waits");

    private LongWait() {
    }

    /** When a wait that begins now is worth a line; {@code deadline} if that is sooner. */
    public static Deadline notice(Deadline deadline) {
        return deadline.remaining().compareTo(NOTICE) < 0 ? deadline : Deadline.after(NOTICE);
    }

    /** Once for a wait, after {@link #notice}. */
    public static void tell(Object what, Deadline deadline) {
        LOG.info("still waiting for {}, {}", what, deadline.remainingText());
    }
}
