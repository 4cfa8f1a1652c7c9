package io.nccl4j.safety.hostile;

import io.nccl4j.cuda.CaptureMode;
import io.nccl4j.cuda.CudaModule;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpAllocator;
import io.nccl4j.ep.RankMask;
import io.nccl4j.ep.graph.GraphKey;
import io.nccl4j.ep.graph.GraphStep;
import io.nccl4j.ep.graph.PiecewiseStep;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.nccl.DataType;
import io.nccl4j.oracle.EpCase;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.Executable;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Random arguments by type: right ones, wrong ones, closed ones, those of another device, and now and then none at all.
 */
final class ArgumentSource {
    /** The exception that callbacks of the generator throw. */
    static final class Broken extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Broken() {
            super("thrown by a callback of the generator");
        }
    }

    private static final Duration[] DURATIONS = {Duration.ZERO, Duration.ofSeconds(20), Duration.ofSeconds(-1),
            Duration.ofSeconds(Long.MAX_VALUE), Duration.ofDays(365 * 1000L), Duration.ofMillis(1),
            Duration.ofMillis(20)};
    /** The last of them. */
    private static final int SHORT = 2;
    /** Operations of a group, and graphs with them, run in one order: all on one stream, as their users promise. */
    private static final Set<String> ORDERED = Set.of("EpGroup", "EpHandle", "EpBuffers", "CudaGraphExec",
            "CachedGraph", "PiecewiseGraph", "GraphCache");

    private final SplittableRandom random;
    private final ObjectPool pool;
    private final EpCase model;
    private final CudaStream ordered;
    private final Bootstrap bootstrap;
    private final Arena arena;
    private final Supplier<Runnable> bodies;
    private final EpAllocator allocator;
    private final Map<Class<?>, Function<Executable, @Nullable Object>> sources;

    ArgumentSource(SplittableRandom random, ObjectPool pool, EpCase model, CudaStream ordered, Bootstrap bootstrap,
            Arena arena, EpAllocator allocator, Supplier<Runnable> bodies) {
        this.random = random;
        this.pool = pool;
        this.model = model;
        this.ordered = ordered;
        this.bootstrap = bootstrap;
        this.arena = arena;
        this.allocator = allocator;
        this.bodies = bodies;
        sources = sources();
    }

    /** An argument of a type for a method; null if there is none, or as a mistake. */
    @Nullable
    Object value(Class<?> type, Executable method) {
        if (!type.isPrimitive() && random.nextInt(40) == 0 && !keepsArguments(method)) {
            return null;
        }
        if (type.isEnum()) {
            return constant(type);
        }
        Function<Executable, @Nullable Object> source = sources.get(type);
        if (method.getName().equals("launchHostFunction")) {
            // Runs at some time on another thread, and may not call anything.
            boolean fails = random.nextInt(3) == 0;
            return (Runnable) () -> {
                if (fails) {
                    throw new Broken();
                }
            };
        }
        if (source != null) {
            return source.apply(method);
        }
        if (type == CudaStream.class && ORDERED.contains(method.getDeclaringClass().getSimpleName())) {
            return stream();
        }
        return pool.chooseAny(type, random);
    }

    /** Whether a null would be found at a later call only. */
    private static boolean keepsArguments(Executable method) {
        String name = method.getDeclaringClass().getSimpleName();
        return name.endsWith("Builder") || name.endsWith("Options") || name.endsWith("Config")
                || name.equals("GraphCache") || name.equals("GraphKey");
    }

    private Map<Class<?>, Function<Executable, @Nullable Object>> sources() {
        return Map.ofEntries(entry(int.class, this::number), entry(long.class, method -> longNumber()),
                entry(boolean.class, method -> random.nextBoolean()),
                // As a routing: no expert.
                entry(byte.class, method -> (byte) (-1 - random.nextInt(100))),
                entry(short.class, method -> (short) random.nextInt()),
                entry(float.class, method -> Float.intBitsToFloat(random.nextInt())),
                entry(double.class, method -> random.nextDouble()),
                entry(float[].class, method -> new float[random.nextInt(5)]),
                entry(byte[].class,
                        method -> method.getDeclaringClass() == CudaModule.class && random.nextBoolean()
                                ? HostileKernel.IMAGE
                                : new byte[random.nextInt(3) * 64]),
                entry(long[].class, method -> shape()),
                entry(String.class, method -> random.nextBoolean() ? "dispatch" : ""),
                // Whether a communicator can be made within a millisecond is luck, and differs between ranks.
                entry(Duration.class,
                        method -> DURATIONS[random.nextInt(DURATIONS.length
                                - (method.getDeclaringClass() == CommunicatorOptions.class ? SHORT : 0))]),
                entry(Path.class, method -> Path.of("/no/such/folder/" + random.nextInt(10) + ".dot")),
                entry(MemorySegment.class, method -> segment()), entry(Bootstrap.class, method -> bootstrap),
                // A mask that leaves out a rank that works would make it wait for the others.
                entry(RankMask.class, method -> RankMask.all(model.shape().ranks() + (random.nextInt(3) == 0 ? 1 : 0))),
                entry(EpAllocator.class, method -> allocator), entry(GraphKey[].class, method -> {
                    GraphKey key = (GraphKey) pool.choose(GraphKey.class, random);
                    return key == null ? new GraphKey[0] : new GraphKey[]{key};
                }), entry(Runnable.class, method -> bodies.get()), entry(Consumer.class, method -> {
                    Runnable body = bodies.get();
                    return (Consumer<Object>) stream -> body.run();
                }), entry(Supplier.class, method -> {
                    Runnable body = bodies.get();
                    return (Supplier<Object>) () -> {
                        body.run();
                        return "done";
                    };
                }), entry(GraphStep.class, method -> {
                    Runnable body = bodies.get();
                    return (GraphStep) (key, stream) -> body.run();
                }), entry(PiecewiseStep.class, method -> {
                    Runnable body = bodies.get();
                    return (PiecewiseStep) (key, segments) -> segments.eager("nothing", stream -> {
                    }).captured("body", stream -> body.run());
                }));
    }

    private static Map.Entry<Class<?>, Function<Executable, @Nullable Object>> entry(Class<?> type,
            Function<Executable, @Nullable Object> source) {
        return Map.entry(type, source);
    }
    /** The one stream, or one that must be refused. */
    private CudaStream stream() {
        if (random.nextInt(5) > 0) {
            return ordered;
        }
        CudaStream other = (CudaStream) pool.choose(CudaStream.class, random);
        return other == null || !other.isClosed() && other.device() == ordered.device() ? ordered : other;
    }

    private Object constant(Class<?> type) {
        Object[] constants = type.getEnumConstants();
        Object chosen = constants[random.nextInt(constants.length)];
        // One rank's would break what the others, threads of this process, do meanwhile.
        return chosen == CaptureMode.GLOBAL ? CaptureMode.RELAXED : chosen;
    }

    private int number(Executable method) {
        int[] small = {-1, 0, 1, 2, 3, 4, 16, model.shape().topK(), model.shape().experts(), model.shape().maxTokens(),
                model.hidden(), model.hidden() * 2, model.shape().ranks()};
        // As many as are given are made.
        boolean counts = method.getName().equals("slots") || method.getDeclaringClass() == RankMask.class;
        int value = small[random.nextInt(counts ? 5 : small.length)];
        return counts || random.nextInt(8) > 0 ? value : random.nextBoolean() ? Integer.MAX_VALUE : Integer.MIN_VALUE;
    }

    private long longNumber() {
        long[] some = {-1, 0, 1, 2, 8, 64, 256, 4096, 8192, 65536, model.shape().maxTokens(), model.shape().topK(),
                1L << 40, Long.MAX_VALUE, Long.MIN_VALUE, Long.MAX_VALUE - 7};
        return some[random.nextInt(some.length)];
    }

    /** Extents, often those of a tensor of the model. */
    long[] shape() {
        long ranks = model.shape().ranks();
        long tokens = model.shape().maxTokens();
        long local = model.shape().localExperts();
        long topK = model.shape().topK();
        long hidden = model.hidden();
        long[][] known = {{tokens, topK}, {tokens, hidden}, {local, ranks * tokens, hidden}, {ranks, tokens, hidden},
                {ranks, tokens, topK}, {local}, {ranks}, {1}, {ranks * tokens, hidden}, {ranks * tokens, topK},
                {ranks * tokens}, {tokens}};
        if (random.nextInt(3) > 0) {
            return known[random.nextInt(known.length)];
        }
        long[] extents = {-1, 0, 1, 2, tokens, topK, hidden, local, 1L << 33, Long.MAX_VALUE};
        long[] shape = new long[random.nextInt(5)];
        for (int i = 0; i < shape.length; i++) {
            shape[i] = extents[random.nextInt(extents.length)];
        }
        return shape;
    }

    DataType type() {
        return (DataType) constant(DataType.class);
    }

    /** A tensor type and shape that nothing reads as a routing. */
    static boolean isRouting(DataType type, long[] shape) {
        return (type == DataType.INT64 || type == DataType.INT32) && shape.length == 2;
    }

    private MemorySegment segment() {
        return switch (random.nextInt(7)) {
            case 0 -> MemorySegment.NULL;
            case 1 -> MemorySegment.ofArray(new byte[64]);
            case 2 -> arena.allocate(64).asReadOnly();
            case 3 -> closedSegment();
            case 4 -> arena.allocate(1 << 20, 8);
            default -> arena.allocate(64, 8);
        };
    }

    private static MemorySegment closedSegment() {
        try (Arena confined = Arena.ofConfined()) {
            return confined.allocate(64);
        }
    }
}
