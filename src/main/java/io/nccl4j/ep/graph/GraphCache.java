package io.nccl4j.ep.graph;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.PiecewiseGraph;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The graphs of a server's step, one for each {@link GraphKey} that it was captured for; a batch runs on the one of the
 * smallest T that holds it.
 *
 * <p>Captures are collective and outside of the hot path: the ranks agree on them over their bootstrap, warm up,
 * capture, and keep the graphs if all have succeeded, so that all ranks have the same graphs. In steady state, {@link
 * #find} and {@link CachedGraph#launch}, they do not talk. Each rank may choose another T then; the rule is that every
 * rank makes the same number of EP operations per step, one without tokens also, with routing rows of -1.
 *
 * <p>Belongs to one thread.
 */
public final class GraphCache implements AutoCloseable {
    private final CaptureAgreement agreement;
    private final CudaStream stream;
    private final CapturePreparation step;
    private final PiecewiseStep segments;
    private int maxGraphs = Integer.MAX_VALUE;
    private long maxBytes = Long.MAX_VALUE;
    private Duration limit;
    private CachedGraph[] graphs = {};
    private long clock;
    private long hits;
    private long misses;
    private long captures;
    private long evictions;
    private boolean closed;

    private GraphCache(Bootstrap bootstrap, CudaStream stream, CapturePreparation step, PiecewiseStep segments) {
        this.agreement = new CaptureAgreement(bootstrap);
        this.stream = stream;
        this.step = step;
        this.segments = segments;
        this.limit = bootstrap.limit();
    }

    /**
     * {@return a cache for a step, empty and without limits} Limits are to be set before the first capture, to the same
     * on all ranks.
     *
     * @param bootstrap how the ranks agree on captures; open for as long as there are any
     * @param stream what captures are made on; graphs may be launched on others
     * @param step what is captured
     */
    public static GraphCache create(Bootstrap bootstrap, CudaStream stream, GraphStep step) {
        return new GraphCache(bootstrap, stream, step,
                (key, segments) -> segments.captured("step", on -> step.enqueue(key, on)));
    }

    /**
     * {@return the same for a step that cannot be captured as a whole, such as one of a group that reads counts on the
     * host: its captured segments are kept, its eager ones run at every launch}
     *
     * @param bootstrap how this rank meets the others
     * @param stream the stream that the work is enqueued on
     * @param step the step
     */
    public static GraphCache piecewise(Bootstrap bootstrap, CudaStream stream, PiecewiseStep step) {
        return new GraphCache(bootstrap, stream, step, step);
    }

    /**
     * Most graphs.
     *
     * @param count the number
     * @return this cache
     */
    public GraphCache maxGraphs(int count) {
        maxGraphs = count;
        return this;
    }

    /**
     * Most bytes of device memory that warm-up and capture of all graphs may take together.
     *
     * @param bytes number of bytes
     * @return this cache
     */
    public GraphCache maxBytes(long bytes) {
        maxBytes = bytes;
        return this;
    }

    /**
     * How long a capture or eviction waits for work in flight; as the bootstrap for other ranks by default.
     *
     * @param value the limit
     * @return this cache
     */
    public GraphCache waitAtMost(Duration value) {
        limit = value;
        return this;
    }

    /**
     * {@return the graph for a batch: of those {@code like} a key but for T, the one with the smallest T that holds
     * {@code tokens}} Null if there is none: run the step eagerly then, since a capture is for all ranks. Allocates
     * nothing.
     *
     * @param like a key that is right but for T
     * @param tokens of this rank, 0 if it is idle
     */
    public @Nullable CachedGraph find(GraphKey like, int tokens) {
        CachedGraph best = null;
        for (CachedGraph graph : graphs) {
            if (graph.key().serves(like, tokens) && (best == null || graph.key().tokens() < best.key().tokens())) {
                best = graph;
            }
        }
        if (best == null) {
            misses++;
        } else {
            hits++;
        }
        return best;
    }

    /**
     * Captures the step for every key that has no graph yet: waits, with the limit, for work in flight, agrees with the
     * other ranks, evicts the least recently launched graphs for which there is no room, warms up, captures.
     * Collective: every rank gives the same keys in the same order, at the same point of its sequence of steps.
     *
     * @param keys the keys, in the same order on all ranks
     * @throws IllegalStateException on all ranks, if they want different keys or have different graphs (nothing has
     *     changed then), or if one could not capture (there is no new graph on any then)
     * @throws WaitTimeoutException if a rank does not come; the message names it
     */
    public void capture(GraphKey... keys) {
        CaptureScope.refuse("GraphCache.capture", "captures cannot be nested");
        checkOpen();
        List<GraphKey> wanted = Arrays.stream(keys).distinct().toList();
        List<GraphKey> eldestFirst = agree(wanted);
        List<GraphKey> missing = wanted.stream().filter(key -> get(key) == null).toList();
        List<CachedGraph> made = new ArrayList<>();
        try {
            agreeOnBytes(missing, made, tryCapture(wanted, missing, eldestFirst, made));
            checkBytes(wanted, made);
        } catch (RuntimeException | Error e) {
            made.forEach(this::close);
            throw e;
        }
        made.forEach(this::add);
        captures += made.size();
        for (GraphKey key : eldestFirst) {
            if (bytes() > maxBytes && !wanted.contains(key)) {
                remove(key);
            }
        }
    }

    /**
     * All ranks are idle, have the same graphs and want the same. Answers what they have, least recently launched on
     * all first.
     */
    private List<GraphKey> agree(List<GraphKey> wanted) {
        String failure = wanted.size() > maxGraphs
                ? wanted.size() + " keys for a cache of " + maxGraphs
                : stream.device().awaitEnqueued(limit)
                        ? ""
                        : stream.device().failure() != null
                                ? String.valueOf(stream.device().failure())
                                : "work is in flight after " + Deadline.millis(limit) + " ms";
        List<GraphKey> recency = Arrays.stream(graphs).sorted(Comparator.comparingLong(CachedGraph::lastLaunch))
                .map(CachedGraph::key).toList();
        // Ranks use different graphs, but must evict the same one: each says where its own stand in the order of last
        // use.
        String told = names(wanted) + "\n" + names(keys()) + "\n"
                + keys().stream().map(key -> String.valueOf(recency.indexOf(key))).collect(Collectors.joining(","));
        List<String[]> all = agreement.exchange("graphs", "capture of " + names(wanted), failure, told).stream()
                .map(text -> text.split("\n", 3)).toList();
        CaptureAgreement.checkSame("which graphs to capture", all.stream().map(fields -> fields[0]).toList());
        CaptureAgreement.checkSame("which graphs they have", all.stream().map(fields -> fields[1]).toList());
        Map<GraphKey, Integer> places = new HashMap<>();
        for (String[] fields : all) {
            String[] numbers = fields[2].split(",");
            for (int i = 0; i < graphs.length; i++) {
                places.merge(graphs[i].key(), Integer.parseInt(numbers[i]), Integer::sum);
            }
        }
        return keys().stream().sorted(Comparator.comparing(places::get)).toList();
    }

    /** Makes room and captures. Answers why it did not work; the other ranks must hear of it before this one throws. */
    private @Nullable RuntimeException tryCapture(List<GraphKey> wanted, List<GraphKey> missing,
            List<GraphKey> eldestFirst, List<CachedGraph> made) {
        try {
            eldestFirst.stream().filter(key -> !wanted.contains(key))
                    .limit(Math.max(0, graphs.length + missing.size() - maxGraphs)).forEach(this::remove);
            for (GraphKey key : missing) {
                made.add(captureOne(key));
            }
            return null;
        } catch (RuntimeException e) {
            return e;
        }
    }

    private CachedGraph captureOne(GraphKey key) {
        long before = stream.device().memoryInfo().freeBytes();
        PiecewiseGraph replay = null;
        try {
            step.warmUp(key, stream);
            stream.awaitUninterruptibly(limit);
            PiecewiseGraph.Builder parts = PiecewiseGraph.on(stream);
            segments.addSegments(key, parts);
            replay = parts.build();
            long taken = Math.max(0, before - stream.device().memoryInfo().freeBytes());
            return new CachedGraph(this, key, replay, taken);
        } catch (RuntimeException | Error e) {
            if (replay != null) {
                replay.close();
            }
            step.evicted(key);
            throw e;
        }
    }

    private void agreeOnBytes(List<GraphKey> missing, List<CachedGraph> made, @Nullable RuntimeException failure) {
        List<String> all;
        try {
            all = agreement.exchange("captured bytes", "capture of " + names(missing),
                    failure == null ? "" : failure.toString(),
                    made.stream().map(graph -> String.valueOf(graph.bytes())).collect(Collectors.joining(",")));
        } catch (RuntimeException e) {
            if (failure != null) {
                e.addSuppressed(failure);
            }
            throw e;
        }
        for (int i = 0; i < made.size(); i++) {
            int index = i;
            made.get(i).bytes(all.stream().mapToLong(text -> Long.parseLong(text.split(",")[index])).max().orElse(0));
        }
    }

    private void checkBytes(List<GraphKey> wanted, List<CachedGraph> made) {
        long needed = made.stream().mapToLong(CachedGraph::bytes).sum() + Arrays.stream(graphs)
                .filter(graph -> wanted.contains(graph.key())).mapToLong(CachedGraph::bytes).sum();
        if (needed > maxBytes) {
            throw new IllegalStateException("graphs for " + names(wanted) + " take " + needed + " bytes, more than the "
                    + maxBytes + " of the cache: there is no new graph");
        }
    }

    /**
     * Closes the graph of a key, after which what it alone kept may be closed. Waits, with the limit, for launches in
     * flight. Every rank does so; does nothing if there is no such graph.
     *
     * @param key the key of the graph
     * @throws WaitTimeoutException if a launch may still be in flight; the graph stays
     */
    public void evict(GraphKey key) {
        CaptureScope.refuse("GraphCache.evict", "evict after the capture");
        checkOpen();
        if (get(key) != null) {
            if (!stream.device().awaitEnqueued(limit)) {
                stream.device().checkUsable();
                throw new WaitTimeoutException("the graph of " + key + " cannot be evicted: work is in flight after "
                        + Deadline.millis(limit) + " ms, and a launch of it may be among that");
            }
            remove(key);
        }
    }

    private void add(CachedGraph graph) {
        graphs = Arrays.copyOf(graphs, graphs.length + 1);
        graphs[graphs.length - 1] = graph;
    }

    private void remove(GraphKey key) {
        CachedGraph graph = get(key);
        if (graph != null) {
            graphs = Arrays.stream(graphs).filter(other -> other != graph).toArray(CachedGraph[]::new);
            evictions++;
            close(graph);
        }
    }

    private void close(CachedGraph graph) {
        graph.close();
        step.evicted(graph.key());
    }

    private @Nullable CachedGraph get(GraphKey key) {
        return Arrays.stream(graphs).filter(graph -> graph.key().equals(key)).findAny().orElse(null);
    }

    private List<GraphKey> keys() {
        return Arrays.stream(graphs).map(CachedGraph::key).toList();
    }

    private static String names(List<GraphKey> keys) {
        return keys.stream().map(GraphKey::toString).collect(Collectors.joining(", "));
    }

    private long bytes() {
        return Arrays.stream(graphs).mapToLong(CachedGraph::bytes).sum();
    }

    long tick() {
        return ++clock;
    }

    private void checkOpen() {
        if (closed) {
            throw new IllegalStateException(this + " cannot be used any more");
        }
    }

    /**
     * Counts since it was made.
     *
     * @return the counts
     */
    public GraphCacheStatistics statistics() {
        return new GraphCacheStatistics(graphs.length, bytes(), hits, misses, captures, evictions);
    }

    /** Closes all graphs, each when the work in flight is done. Idempotent. */
    @Override
    public void close() {
        CaptureScope.refuse("close of a GraphCache", "close after the capture");
        closed = true;
        while (graphs.length > 0) {
            CachedGraph last = graphs[graphs.length - 1];
            graphs = Arrays.copyOf(graphs, graphs.length - 1);
            close(last);
        }
    }

    @Override
    public String toString() {
        return "GraphCache[" + names(keys()) + "]" + (closed ? " (closed)" : "");
    }
}
