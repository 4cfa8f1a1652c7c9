package io.nccl4j.safety.hostile;

import io.nccl4j.NativeCallException;
import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.DeviceAllocator;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** Calls of anything with anything, on this thread, on another one or in a callback. */
final class RandomCalls {
    private static final int MOST_OPEN = 5;
    private static final int ATTEMPTS = 20;
    private static final Duration THREAD_LIMIT = Duration.ofSeconds(40);
    /** Methods whose results depend on time. */
    private static final Set<String> TIMED = Set.of("awaitUninterruptibly", "isIdle", "isComplete",
            "elapsedMillisSince", "await", "synchronize", "waitEvent", "memoryInfo", "recapture", "awaitEnqueued",
            "awaitLastUse", "asyncError");
    /** Methods whose results are new, with contents that nobody uses yet. */
    private static final Set<String> MAKERS = Set.of("allocate", "allocateAsync", "slice");

    private final HostileScene scene;
    private final ArgumentSource arguments;
    private final List<Class<?>> busy;
    private final List<Class<?>> plain;
    private final List<Executable> all;

    RandomCalls(HostileScene scene, Arena arena) {
        this.scene = scene;
        DeviceAllocator allocator = scene.closeLast(new DeviceAllocator(scene.rank.device()));
        if (scene.random.nextInt(4) == 0) {
            AtomicInteger allocations = new AtomicInteger();
            allocator.allocating = () -> {
                if (allocations.incrementAndGet() % 5 == 0) {
                    throw new ArgumentSource.Broken();
                }
            };
        }
        this.arguments = new ArgumentSource(scene.random, scene.pool, scene.model, scene.stream, scene.rank.bootstrap(),
                arena, allocator, this::body);
        ApiSurface surface = scene.sequence.surface;
        List<Class<?>> classes = surface.classes();
        this.plain = classes.stream().filter(RandomCalls::isPlain).toList();
        this.busy = classes.stream().filter(type -> !isPlain(type)).toList();
        this.all = classes.stream().flatMap(type -> surface.of(type).stream()).toList();
    }

    /** Values, which do nothing. */
    private static boolean isPlain(Class<?> type) {
        return type.isEnum() || type.isRecord() || Throwable.class.isAssignableFrom(type);
    }

    /** One call; what came of it. */
    String call(String prefix) {
        for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
            Executable member = choose();
            Object target = target(member);
            if (target == null && member instanceof Method && !Modifier.isStatic(member.getModifiers())) {
                continue;
            }
            if (isWise(member)) {
                return call(prefix, target, member);
            }
        }
        return "ok";
    }

    /** Half of the time of any class, so that those with few methods are not forgotten among those with many. */
    private Executable choose() {
        if (scene.random.nextBoolean()) {
            return all.get(scene.random.nextInt(all.size()));
        }
        List<Class<?>> classes = scene.random.nextInt(8) == 0 ? plain : busy;
        List<Executable> members = scene.sequence.surface.of(classes.get(scene.random.nextInt(classes.size())));
        return members.get(scene.random.nextInt(members.size()));
    }

    private @Nullable Object target(Executable member) {
        Class<?> type = member.getDeclaringClass();
        Object[] constants = type.getEnumConstants();
        return constants == null
                ? scene.pool.chooseAny(type, scene.random)
                : constants[scene.random.nextInt(constants.length)];
    }

    /**
     * Not more of a kind than memory has room for; and nothing collective beside the others once they are out of step.
     */
    private boolean isWise(Executable member) {
        Class<?> made = ApiSurface.result(member);
        if (NativeObject.class.isAssignableFrom(made) && scene.pool.open(made) >= MOST_OPEN
                && (MAKERS.contains(member.getName()) || made != DeviceMemory.class)) {
            return false;
        }
        return scene.isInLockstep() || !HostileSequence.COLLECTIVE
                .contains(member.getDeclaringClass().getSimpleName() + "." + member.getName());
    }

    private String call(String prefix, @Nullable Object target, Executable member) {
        Object[] values = values(member);
        boolean nullGiven = Arrays.stream(values).anyMatch(value -> value == null);
        String name = ApiSurface.name(member);
        scene.trail.note(prefix + (target == null ? "" : target + " . ") + name + " " + describe(values));
        String outcome;
        Throwable thrown = null;
        try {
            Object result = member instanceof Method method
                    ? method.invoke(target, values)
                    : ((Constructor<?>) member).newInstance(values);
            if (!nullGiven || result instanceof AutoCloseable) {
                keep(member, result);
            }
            outcome = "ok";
        } catch (InvocationTargetException e) {
            thrown = e.getCause();
            outcome = scene.trail.outcome(name, thrown, nullGiven);
            if (thrown instanceof NativeCallException) {
                scene.pool.add(thrown);
            }
        } catch (IllegalAccessException | InstantiationException e) {
            throw scene.trail.failure(name, e);
        }
        scene.sequence.statistics.call(name, outcome, thrown);
        return TIMED.contains(member.getName()) ? HostileSequence.TIMED : outcome;
    }

    private @Nullable Object[] values(Executable member) {
        Class<?>[] types = member.getParameterTypes();
        @Nullable
        Object[] values = new Object[types.length];
        for (int i = 0; i < types.length; i++) {
            values[i] = arguments.value(types[i], member);
            if (values[i] == null && types[i].isPrimitive()) {
                throw new IllegalStateException("no value of " + types[i]);
            }
        }
        if (member.getDeclaringClass() == EpTensor.class && Modifier.isStatic(member.getModifiers())) {
            separateRoutings(values);
        }
        giveTheRootWhatAllHave(member.getName(), values);
        return values;
    }

    /**
     * A buffer that counts at the root only is the one that counts everywhere, so that a wrong range is refused on all
     * ranks or on none.
     */
    private static void giveTheRootWhatAllHave(String member, @Nullable Object[] values) {
        if (member.equals("broadcast") && values.length == 8) {
            System.arraycopy(values, 2, values, 0, 2);
        } else if (member.equals("reduce") && values.length == 9) {
            System.arraycopy(values, 0, values, 2, 2);
        } else if (member.equals("reduce") && values.length == 7) {
            values[1] = values[0];
        }
    }

    /** Memory that dispatch reads as a routing holds nothing else: its contents are their owner's concern. */
    private void separateRoutings(@Nullable Object[] values) {
        if (values[1] instanceof DataType type && values[2] instanceof long[] extents
                && ArgumentSource.isRouting(type, extents)) {
            if (values[0] instanceof DeviceMemory) {
                values[0] = scene.anyRoutingMemory();
            } else {
                values[1] = DataType.BFLOAT16;
            }
        }
    }

    private void keep(Executable member, @Nullable Object result) {
        if (result == null || result.getClass().isPrimitive() || result instanceof Number || result instanceof Boolean
                || result instanceof String || result.getClass().isArray() || result instanceof Enum
                // Which is not the same to every rank.
                || result instanceof CudaDevice) {
            return;
        }
        if (result instanceof DeviceMemory && !MAKERS.contains(member.getName())) {
            return;
        }
        scene.pool.add(result);
        if (result instanceof DeviceMemory memory && memory.isOwned() && scene.isInLockstep()
                && !CaptureScope.isOpen()) {
            try {
                scene.clear(memory);
            } catch (RuntimeException e) {
                scene.trail.outcome("clear of " + memory, e, false);
            }
        }
    }

    private static String describe(@Nullable Object[] values) {
        StringBuilder text = new StringBuilder();
        for (Object value : values) {
            String one = value instanceof long[] extents ? Arrays.toString(extents) : String.valueOf(value);
            text.append(' ').append(one.length() > 60 ? one.substring(0, 60) : one);
        }
        return text.toString();
    }

    /** A call on a thread with another or the same device current, now and then a virtual one. */
    String callOnAnotherThread() {
        AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
        AtomicReference<String> result = new AtomicReference<>("none");
        CudaDevice current = scene.random.nextInt(4) == 0 ? scene.foreign : scene.rank.device();
        Runnable body = () -> {
            try {
                if (!Thread.currentThread().isVirtual()) {
                    current.makeCurrent();
                }
                result.set(call("on another thread: "));
            } catch (Throwable e) {
                failure.set(e);
            }
        };
        Thread thread = scene.random.nextInt(4) == 0
                ? Thread.ofVirtual().unstarted(body)
                : Thread.ofPlatform().unstarted(body);
        thread.start();
        try {
            if (!thread.join(THREAD_LIMIT)) {
                throw scene.trail.failure("a call on another thread does not end", null);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw scene.trail.failure("interrupted", e);
        }
        Throwable thrown = failure.get();
        if (thrown != null) {
            return scene.trail.outcome("another thread", thrown, false);
        }
        return result.get();
    }

    /** The body of a callback: nothing, a throw, or more calls. */
    private Runnable body() {
        int kind = scene.random.nextInt(4);
        return () -> {
            if (kind == 1) {
                throw new ArgumentSource.Broken();
            }
            scene.trail.nest(() -> {
                for (int i = 0; i < kind; i++) {
                    call("");
                }
            });
        };
    }
}
