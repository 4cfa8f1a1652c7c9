package io.nccl4j.safety.hostile;

import io.nccl4j.NativeLibraries;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.Constructor;
import java.lang.reflect.Executable;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * The public methods and constructors of the library, found in its classes, in an order that does not depend on the VM.
 * Each is called with random arguments, or {@link ApiExclusions} says why not.
 */
final class ApiSurface {
    private static final List<String> PACKAGES = List.of("", "bootstrap", "cuda", "ep", "ep/graph", "nccl");

    private final Map<Class<?>, List<Executable>> byClass = new LinkedHashMap<>();
    private final Map<String, String> excluded = new TreeMap<>();
    private final Set<String> called = new TreeSet<>();

    ApiSurface() {
        for (Class<?> type : publicTypes()) {
            List<Executable> members = new ArrayList<>();
            Stream.concat(Arrays.stream(type.getMethods()), Arrays.stream(type.getConstructors()))
                    .filter(member -> isOurs(type, member) && !isBridge(type, member)).forEach(member -> {
                        String name = name(member);
                        String reason = ApiExclusions.reason(member);
                        if (reason != null) {
                            excluded.put(name, reason);
                        } else {
                            member.setAccessible(true);
                            members.add(member);
                            called.add(name);
                        }
                    });
            members.sort(Comparator.comparing(Executable::getName).thenComparing(Executable::toGenericString));
            if (!members.isEmpty()) {
                byClass.put(type, members);
            }
        }
    }

    /** Not of the JDK, and not what the compiler gives every enum. */
    private static boolean isOurs(Class<?> type, Executable member) {
        Class<?> declaring = member.getDeclaringClass();
        boolean ofEnum = type.isEnum() && Modifier.isStatic(member.getModifiers())
                && (member.getName().equals("values") || member.getName().equals("valueOf"));
        boolean ofNobody = declaring != type && Modifier.isStatic(member.getModifiers());
        return declaring.getName().startsWith("io.nccl4j.") && !ofEnum && !ofNobody;
    }

    /** Made by the compiler beside the method itself; a class that is not public is seen through such alone. */
    private static boolean isBridge(Class<?> type, Executable member) {
        return member.isSynthetic() && Arrays.stream(type.getMethods())
                .anyMatch(other -> !other.isSynthetic() && other.getName().equals(member.getName())
                        && Arrays.equals(other.getParameterTypes(), member.getParameterTypes()));
    }

    private static List<Class<?>> publicTypes() {
        try {
            Path classes = Path.of(
                    URI.create(NativeLibraries.class.getProtectionDomain().getCodeSource().getLocation().toString()));
            List<Class<?>> types = new ArrayList<>();
            for (String name : PACKAGES) {
                Path folder = classes.resolve("io/nccl4j").resolve(name);
                try (Stream<Path> files = Files.list(folder)) {
                    files.map(file -> classes.relativize(file).toString()).filter(file -> file.endsWith(".class"))
                            .filter(file -> !file.contains("-info")).sorted()
                            .map(file -> load(file.substring(0, file.length() - 6).replace('/', '.')))
                            .filter(ApiSurface::isPublic).forEach(types::add);
                }
            }
            return types;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Class<?> load(String name) {
        try {
            return Class.forName(name, false, ApiSurface.class.getClassLoader());
        } catch (ClassNotFoundException e) {
            throw new IllegalStateException(e);
        }
    }

    private static boolean isPublic(Class<?> type) {
        return Modifier.isPublic(type.getModifiers())
                && (type.getEnclosingClass() == null || isPublic(type.getEnclosingClass()));
    }

    List<Class<?>> classes() {
        return List.copyOf(byClass.keySet());
    }

    List<Executable> of(Class<?> type) {
        return Objects.requireNonNull(byClass.get(type));
    }

    /** Methods that are called with random arguments. */
    Set<String> called() {
        return called;
    }

    /** Methods that are not, and why. */
    Map<String, String> excluded() {
        return excluded;
    }

    /** Class, method and parameter types, short. */
    static String name(Executable member) {
        StringBuilder text = new StringBuilder(member.getDeclaringClass().getSimpleName()).append('.')
                .append(member instanceof Constructor<?> ? "new" : member.getName()).append('(');
        String separator = "";
        for (Class<?> type : member.getParameterTypes()) {
            text.append(separator).append(type.getSimpleName());
            separator = ",";
        }
        return text.append(')').toString();
    }

    /** The class of what it gives. */
    static Class<?> result(Executable member) {
        return member instanceof Method method ? method.getReturnType() : member.getDeclaringClass();
    }
}
