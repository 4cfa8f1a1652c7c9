package io.nccl4j.internal;

import java.time.Duration;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A wait that is told of once it lasts longer than a second, so that nobody wonders at a silent process. */
public final class LongWait {
    private static final Duration NOTICE = Duration.ofSeconds(1);
    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.waits");

    private final Object what;
    private final Deadline deadline;
    /** The deadline if that is sooner. */
    private final Deadline notice;
    private boolean told;

    /** A wait for {@code what} that begins now. */
    public LongWait(Object what, Deadline deadline) {
        this.what = what;
        this.deadline = deadline;
        this.notice = deadline.remaining().compareTo(NOTICE) < 0 ? deadline : Deadline.after(NOTICE);
    }

    /** It goes on: a line if that is worth one now, and there was none. */
    public void goesOn() {
        if (!told && notice.isOver()) {
            told = true;
            LOG.info("still waiting for {}, {}", what, deadline.remainingText());
        }
    }
}
