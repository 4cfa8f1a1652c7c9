package io.nccl4j.cuda;

import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Ownership;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * A step as a list of segments that are enqueued one after the other: captured ones, each replayed as a graph of its
 * own, and eager ones, whose code runs on the host at every replay. For steps that cannot be captured as a whole, such
 * as those with a dispatch that reads counts on the host: the segments between are captured all the same.
 *
 * <p>Built once, replayed with one call, which allocates nothing and makes one native call per captured segment.
 * Belongs to one thread.
 */
public final class PiecewiseGraph implements AutoCloseable {
    /** A part of the step; captured if it has an executable. */
    private static final class Segment {
        private final String name;
        private final boolean captured;
        private Consumer<CudaStream> body;
        private @Nullable CudaGraphExec exec;

        Segment(String name, boolean captured, Consumer<CudaStream> body) {
            this.name = name;
            this.captured = captured;
            this.body = body;
        }

        void enqueue(CudaStream stream) {
            CudaGraphExec graph = exec;
            if (graph != null) {
                graph.launch(stream);
            } else {
                body.accept(stream);
            }
        }
    }

    private final CudaStream origin;
    private final Segment[] segments;
    private boolean closed;

    private PiecewiseGraph(Builder builder) {
        this.origin = builder.origin;
        this.segments = builder.segments.stream().map(s -> new Segment(s.name, s.captured, s.body))
                .toArray(Segment[]::new);
    }

    /**
     * A step whose captured segments are recorded on {@code origin}; it may be replayed on others.
     *
     * @param origin not capturing when the graph is built, and open for as long as that lives
     * @return a builder
     */
    public static Builder on(CudaStream origin) {
        return new Builder(origin);
    }

    /** Collects the segments in the order in which they run. */
    public static final class Builder {
        private final CudaStream origin;
        private final List<Segment> segments = new ArrayList<>();

        private Builder(CudaStream origin) {
            this.origin = origin;
        }

        /**
         * A segment that is captured when the graph is built: attention, norms, experts.
         *
         * @param name not used twice
         * @param body enqueues the work on the stream that it is given; runs once, under capture
         * @return this builder
         */
        public Builder captured(String name, Consumer<CudaStream> body) {
            return add(new Segment(name, true, body));
        }

        /**
         * A segment that runs at every replay: dispatch, combine, anything on the host. What it allocates, every step
         * allocates.
         *
         * @param name not used twice
         * @param body enqueues the work on the stream that it is given
         * @return this builder
         */
        public Builder eager(String name, Consumer<CudaStream> body) {
            return add(new Segment(name, false, body));
        }

        private Builder add(Segment segment) {
            if (segments.stream().anyMatch(other -> other.name.equals(segment.name))) {
                throw new IllegalArgumentException(
                        "there are two segments \"" + segment.name + "\": names must differ");
            }
            segments.add(segment);
            return this;
        }

        /**
         * Captures the segments that are to be captured; the eager ones do not run. If a body throws, nothing is left
         * and the exception is passed on.
         *
         * @return the graph
         * @throws IllegalStateException during a capture, also of another thread in mode GLOBAL
         */
        public PiecewiseGraph build() {
            CaptureScope.refuse("PiecewiseGraph.Builder.build", "captures cannot be nested; build it before");
            PiecewiseGraph graph = new PiecewiseGraph(this);
            try {
                for (Segment segment : graph.segments) {
                    if (segment.captured) {
                        segment.exec = graph.capture(segment.body);
                    }
                }
                return graph;
            } catch (RuntimeException | Error e) {
                graph.close();
                throw e;
            }
        }
    }

    private CudaGraphExec capture(Consumer<CudaStream> body) {
        CudaGraphExec exec = null;
        try {
            try (CudaGraph graph = origin.capture(() -> body.accept(origin))) {
                exec = graph.instantiate();
            }
            exec.upload(origin);
            return exec;
        } catch (RuntimeException | Error e) {
            // Closing the graph may have failed, too.
            if (exec != null) {
                exec.close();
            }
            throw e;
        }
    }

    /**
     * Enqueues the whole step. An exception of an eager segment is passed on; the segments before it are enqueued then,
     * those after it are not, so that with collectives in them the ranks are out of step.
     *
     * @param stream the stream that the work is enqueued on
     * @throws IllegalStateException if the stream is capturing: CUDA does not capture the launch of a graph
     */
    public void replay(CudaStream stream) {
        checkOpen();
        for (Segment segment : segments) {
            segment.enqueue(stream);
        }
    }

    /**
     * Captures one segment again, with the body that it has; the others stay as they are.
     *
     * @param name name of the segment
     * @throws IllegalArgumentException if there is no such segment, or it is eager
     * @throws IllegalStateException after close, or on a thread that this does not belong to
     */
    public void recapture(String name) {
        recapture(name, captured(name).body);
    }

    /**
     * Captures one segment with another body; the others stay as they are. Waits, with a limit, for replays in flight,
     * after which what the former graph kept from being closed may be closed. If the body throws, the segment stays as
     * it was.
     *
     * @param name name of the segment
     * @param body enqueues the segment on the stream that it gets
     */
    public void recapture(String name, Consumer<CudaStream> body) {
        Segment segment = captured(name);
        CudaGraphExec replacement = capture(body);
        CudaGraphExec former = segment.exec;
        try {
            if (former != null) {
                former.close();
            }
        } catch (RuntimeException | Error e) {
            replacement.close();
            throw e;
        }
        segment.exec = replacement;
        segment.body = body;
    }

    private Segment captured(String name) {
        checkOpen();
        for (Segment segment : segments) {
            if (segment.name.equals(name)) {
                if (!segment.captured) {
                    throw new IllegalArgumentException(
                            "segment \"" + name + "\" is eager: there is nothing to capture");
                }
                return segment;
            }
        }
        throw new IllegalArgumentException("there is no segment \"" + name + "\" in " + this);
    }

    private void checkOpen() {
        if (closed) {
            throw new IllegalStateException(this + " cannot be used any more");
        }
    }

    /** Makes the executables of the segments belong to the calling thread; the origin stream is moved by its user. */
    public void bindToCurrentThread() {
        checkOpen();
        for (Segment segment : segments) {
            CudaGraphExec exec = segment.exec;
            if (exec != null) {
                exec.bindToCurrentThread();
            }
        }
    }

    /** Waits, with a limit, for replays in flight and closes the segments' graphs. Idempotent. */
    @Override
    public void close() {
        closed = true;
        Ownership.closeAll(Arrays.stream(segments).map(segment -> segment.exec).filter(Objects::nonNull).toList());
    }

    @Override
    public String toString() {
        return Arrays.stream(segments).map(segment -> segment.name + (segment.captured ? "" : " (eager)"))
                .collect(Collectors.joining(", ", "PiecewiseGraph[", closed ? "] (closed)" : "]"));
    }
}
