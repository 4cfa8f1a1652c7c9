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
import java.util.Set;
import java.util.SplittableRandom;
import java.util.function.Consumer;
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
        if (type == int.class) {
            return number(method);
        } else if (type == long.class) {
            return longNumber(method);
        } else if (type == boolean.class) {
            return random.nextBoolean();
        } else if (type == byte.class) {
            // As a routing: no expert.
            return (byte) (-1 - random.nextInt(100));
        } else if (type == short.class) {
            return (short) random.nextInt();
        } else if (type == float.class) {
            return Float.intBitsToFloat(random.nextInt());
        } else if (type == double.class) {
            return random.nextDouble();
        } else if (type == float[].class) {
            return new float[random.nextInt(5)];
        } else if (type == byte[].class) {
            return method.getDeclaringClass() == CudaModule.class && random.nextBoolean()
                    ? HostileKernel.IMAGE
                    : new byte[random.nextInt(3) * 64];
        } else if (type == long[].class) {
            return shape();
        } else if (type == String.class) {
            return random.nextBoolean() ? "dispatch" : "";
        } else if (type == Duration.class) {
            // Whether a communicator can be made within a millisecond is a matter of luck, and differs between ranks.
            boolean luck = method.getDeclaringClass() == CommunicatorOptions.class;
            return DURATIONS[random.nextInt(DURATIONS.length - (luck ? SHORT : 0))];
        } else if (type == Path.class) {
            return Path.of("/no/such/folder/" + random.nextInt(10) + ".dot");
        } else if (type == MemorySegment.class) {
            return segment();
        } else if (type == Bootstrap.class) {
            return bootstrap;
        } else if (type == RankMask.class) {
            // A mask that leaves out a rank that works would make it wait for the others.
            return RankMask.all(model.shape().ranks() + (random.nextInt(3) == 0 ? 1 : 0));
        } else if (type == EpAllocator.class) {
            return allocator;
        } else if (type == GraphKey[].class) {
            GraphKey key = (GraphKey) pool.choose(GraphKey.class, random);
            return key == null ? new GraphKey[0] : new GraphKey[]{key};
        }
        if (method.getName().equals("launchHostFunction")) {
            // Runs at some time on another thread, and may not call anything.
            boolean fails = random.nextInt(3) == 0;
            return (Runnable) () -> {
                if (fails) {
                    throw new Broken();
                }
            };
        }
        Object callback = callback(type);
        if (callback != null) {
            return callback;
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

    private @Nullable Object callback(Class<?> type) {
        if (type == Runnable.class) {
            return bodies.get();
        } else if (type == Consumer.class) {
            Runnable body = bodies.get();
            return (Consumer<Object>) stream -> body.run();
        } else if (type == Supplier.class) {
            Runnable body = bodies.get();
            return (Supplier<Object>) () -> {
                body.run();
                return "done";
            };
        } else if (type == GraphStep.class) {
            Runnable body = bodies.get();
            return (GraphStep) (key, stream) -> body.run();
        } else if (type == PiecewiseStep.class) {
            Runnable body = bodies.get();
            return (PiecewiseStep) (key, segments) -> segments.eager("nothing", stream -> {
            }).captured("body", stream -> body.run());
        }
        return null;
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

    private long longNumber(Executable method) {
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
