package io.nccl4j.ep;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What a handle tells a capture: what the graph must keep alive, and on 0.1.0 how many operations it holds. */
final class CapturedOperations {
    private static final Logger LOG = LoggerFactory.getLogger(EpHandle.class);

    private final EpHandle handle;
    private final HandleShape shape;
    private @Nullable CaptureScope guarded;
    private @Nullable CaptureScope counting;
    private @Nullable LastRouting lastRouting;
    private int count;
    private boolean evening;
    private boolean exist;

    /** What a graph leaves in the handle's state on the device: the routing of its last update, or low latency of its last dispatch. */
    private static final class LastRouting {
        private final CaptureScope capture;
        private long tokens;
        private @Nullable EpTensor routing;

        LastRouting(CaptureScope capture) {
            this.capture = capture;
        }
    }

    CapturedOperations(EpHandle handle, HandleShape shape) {
        this.handle = handle;
        this.shape = shape;
    }

    /** Whether there is a graph with calls of the handle, or was. */
    boolean exist() {
        return exist;
    }

    void update(CudaStream stream, EpTensor topkIdx, @Nullable LayoutInfo info) {
        exist = true;
        stream.retain(handle);
        stream.retain(topkIdx.resource());
        if (info != null) {
            info.retain(stream);
        }
        if (!shape.isLowLatency()) {
            routed(topkIdx, topkIdx.rows());
        }
    }

    /** A replay will route the handle so, whatever eager calls have made of it since the capture. */
    void routed(@Nullable EpTensor routing, long tokens) {
        CaptureScope capture = CaptureScope.current();
        if (capture == null) {
            return;
        }
        LastRouting last = lastRouting;
        if (last == null || last.capture != capture) {
            LastRouting made = new LastRouting(capture);
            capture.whenLaunching(() -> handle.routing().replayed(made.routing, made.tokens));
            lastRouting = made;
            last = made;
        }
        last.routing = routing;
        last.tokens = tokens;
    }

    void operation(CudaStream stream, @Nullable EpTensor routing, NativeStruct inputs, NativeStruct outputs,
            @Nullable LayoutInfo info) {
        exist = true;
        stream.retain(handle);
        if (routing != null && shape.isLowLatency()) {
            // Its contents are read at every replay.
            stream.retain(routing.resource());
        }
        inputs.retain(stream);
        outputs.retain(stream);
        if (info != null) {
            info.retain(stream);
        }
        CaptureScope capture = CaptureScope.current();
        if (capture != null) {
            handle.group().rdmaBuffer().usedIn(capture);
            if (capture != guarded && shape.isLowLatency()) {
                guarded = capture;
                capture.whenLaunching(this::checkNoneHalfDone);
            }
        }
    }

    /** What is captured now works on what another capture has, so that the graph of that must be launched first. */
    void after(Executed before, Rule rule, String call) {
        CaptureScope capture = CaptureScope.current();
        CaptureScope due = before.isDue();
        if (capture == null || due == null) {
            return;
        }
        capture.whenLaunching(() -> {
            if (!due.wasLaunched()) {
                rule.require(false,
                        "launch of a graph with %s of %s before the graph with what it works on was launched", call,
                        handle);
            }
        });
    }

    /** A graph begins operations like any call. */
    private void checkNoneHalfDone() {
        SendState send = handle.group().send();
        // What a message is made of would be allocated at every launch.
        if (send.isPending()) {
            Rule.SEND_PENDING.require(false,
                    "launch of a graph with operations of %s while a send half is pending in its group (%s): complete it first",
                    handle, send);
        }
    }

    /**
     * An operation was captured. 0.1.0 fixes at capture which of two buffers it uses, and goes on to the other one: a replay
     * must end where it began, and so must a capture that comes to nothing.
     *
     * @param bank the buffer
     * @param again does the same once more
     */
    void count(CudaStream stream, int bank, Runnable again) {
        CaptureScope capture = CaptureScope.current();
        if (capture == null || shape.isV2() || !shape.isLowLatency() || evening) {
            return;
        }
        if (capture != counting) {
            counting = capture;
            count = 0;
            capture.whenEnding(() -> Rule.V1_CAPTURE_PARITY.require(count % 2 == 0,
                    "the capture holds %d operations of %s: NCCL EP 0.1.0 can only replay an even number, as dispatch and combine",
                    count,
                    handle));
            capture.whenDiscarded(() -> evenOut(stream, again));
            Banks banks = handle.group().banks();
            String first = "the first operation of the graph on " + handle;
            capture.whenLaunching(() -> {
                banks.check(bank, first);
                // An even number of them.
                banks.ran(bank ^ 1);
            });
        }
        count++;
    }

    /** Takes the library back to the buffer where it was, by another capture of which nothing runs either. */
    private void evenOut(CudaStream stream, Runnable again) {
        if (count % 2 == 0) {
            return;
        }
        evening = true;
        try {
            stream.capture(again).close();
        } catch (RuntimeException e) {
            LOG.error("{} must be closed: a capture that has failed has left it out of step", handle, e);
        } finally {
            evening = false;
        }
    }
}
