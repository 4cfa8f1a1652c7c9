package io.nccl4j.guide;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The tests that the documentation may name: {@code package.Class}, {@code package.Class.method} for JUnit, here and in
 * the other projects; {@code Suite.Name} for the native tests. Found in the sources, since not all of them are on one
 * class path.
 */
public final class NamedTests {
    /** The first method behind an annotation. */
    private static final Pattern JUNIT = Pattern
            .compile("@(?:Test|ParameterizedTest|Each\\w+Kind)\\b(?:(?!@(?:Test|ParameterizedTest|Each\\w+Kind)\\b).)*?"
                    + "\\bvoid (\\w+)\\(", Pattern.DOTALL);
    private static final Pattern NATIVE = Pattern.compile("TEST(?:_[FP])?\\(\\s*(\\w+),\\s*(\\w+)\\)");
    private static final List<String> FOLDERS = List.of("src/test/java", "benchmarks/src/test/java",
            "examples/moe-server/src/test/java");

    private final Map<String, Set<String>> classes = new TreeMap<>();
    private final Set<String> natives = new TreeSet<>();

    /** Reads the sources below the working directory. */
    public NamedTests() {
        FOLDERS.stream().map(Path::of).filter(Files::isDirectory).forEach(this::readFolder);
        for (Path file : files(Path.of("native/tests"), ".cpp")) {
            for (MatchResult test : NATIVE.matcher(read(file)).results().toList()) {
                natives.add(test.group(1) + "." + test.group(2));
            }
        }
    }

    private void readFolder(Path folder) {
        for (Path file : files(folder, ".java")) {
            String path = folder.relativize(file).toString();
            Set<String> methods = new TreeSet<>();
            JUNIT.matcher(read(file)).results().forEach(test -> methods.add(test.group(1)));
            classes.put(path.substring(0, path.length() - ".java".length()).replace('/', '.'), methods);
        }
    }

    private static List<Path> files(Path folder, String ending) {
        try (Stream<Path> all = Files.walk(folder)) {
            return all.filter(file -> file.toString().endsWith(ending)).toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String read(Path file) {
        try {
            return Files.readString(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * Whether there is such a test.
     *
     * @param name of a class without a package is one of {@code io.nccl4j.safety}
     */
    public boolean exists(String name) {
        if (natives.contains(name)) {
            return true;
        }
        String full = name.contains("io.nccl4j.") ? name : "io.nccl4j.safety." + name;
        String last = full.substring(full.lastIndexOf('.') + 1);
        if (Character.isUpperCase(last.charAt(0))) {
            return classes.containsKey(full) && !classes.get(full).isEmpty();
        }
        return classes.getOrDefault(full.substring(0, full.lastIndexOf('.')), Set.of()).contains(last);
    }
}
