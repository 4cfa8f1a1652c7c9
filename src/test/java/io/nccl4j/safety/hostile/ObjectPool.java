package io.nccl4j.safety.hostile;

import io.nccl4j.NativeObject;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/**
 * The objects of a rank by class. Ranks of a sequence add alike, so that an index means corresponding objects on all of
 * them. Closed ones stay, to be used again.
 */
final class ObjectPool {
    private static final int MOST = 24;

    private final Map<Class<?>, List<Object>> objects = new LinkedHashMap<>();

    void add(Object object) {
        List<Object> list = objects.computeIfAbsent(object.getClass(), type -> new ArrayList<>());
        if (list.contains(object)) {
            return;
        }
        if (list.size() >= MOST) {
            // In the place of one that needs no care any more, if there is one.
            for (int i = 0; i < list.size(); i++) {
                if (!(list.get(i) instanceof AutoCloseable) || isClosed(list.get(i))) {
                    list.set(i, object);
                    return;
                }
            }
        }
        list.add(object);
    }

    private static boolean isClosed(Object object) {
        return object instanceof NativeObject resource && resource.isClosed();
    }

    /** How many of a class are open. */
    int open(Class<?> type) {
        return (int) objects.getOrDefault(type, List.of()).stream().filter(object -> !isClosed(object)).count();
    }

    @Nullable
    Object choose(Class<?> type, SplittableRandom random) {
        List<Object> list = objects.getOrDefault(type, List.of());
        return list.isEmpty() ? null : list.get(random.nextInt(list.size()));
    }

    /** One of a class or of those that extend it. */
    @Nullable
    Object chooseAny(Class<?> type, SplittableRandom random) {
        List<Object> all = new ArrayList<>();
        objects.forEach((of, list) -> {
            if (type.isAssignableFrom(of)) {
                all.addAll(list);
            }
        });
        return all.isEmpty() ? null : all.get(random.nextInt(all.size()));
    }

    /** Everything that is to be closed, youngest first. */
    List<AutoCloseable> closeables() {
        List<AutoCloseable> all = new ArrayList<>();
        objects.values().forEach(list -> list.forEach(object -> {
            if (object instanceof AutoCloseable closeable && !isClosed(object)) {
                all.add(closeable);
            }
        }));
        return all.reversed();
    }
}
