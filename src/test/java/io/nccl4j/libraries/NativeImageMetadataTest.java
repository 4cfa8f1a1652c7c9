package io.nccl4j.libraries;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeLibraries;
import io.nccl4j.junit.EmulatedRanks;
import java.io.IOException;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.PaddingLayout;
import java.lang.foreign.SequenceLayout;
import java.lang.foreign.StructLayout;
import java.lang.foreign.ValueLayout;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * The metadata with which GraalVM's native-image prepares calls is made from the bindings:
 * {@code -Dtest=NativeImageMetadataTest -Dtest.args=-Dnccl4j.write.metadata=true} writes it anew. native-image itself
 * does not run here.
 */
@EmulatedRanks(1)
class NativeImageMetadataTest {
    private static final Path FILE = Path
            .of("src/main/resources/META-INF/native-image/io.nccl4j/nccl4j/reachability-metadata.json");
    /** Calls that are linked by hand, pointers as {@code long}; {@link #handWrittenCallsAreKnown} counts them. */
    private static final List<FunctionDescriptor> BY_HAND = List.of(longs(2), longs(3), longs(4), longs(5), longs(6),
            FunctionDescriptor.of(JAVA_INT, JAVA_INT, ADDRESS));
    private static final List<FunctionDescriptor> UPCALLS_BY_HAND = List.of(FunctionDescriptor.ofVoid(JAVA_LONG),
            longs(2), longs(3));

    private static FunctionDescriptor longs(int count) {
        return FunctionDescriptor.of(JAVA_INT,
                Stream.generate(() -> JAVA_LONG).limit(count).toArray(MemoryLayout[]::new));
    }

    private static Path classes() {
        return Path
                .of(URI.create(NativeLibraries.class.getProtectionDomain().getCodeSource().getLocation().toString()));
    }

    /** Every class of the bindings. */
    private static List<Class<?>> bindings() throws IOException, ClassNotFoundException {
        List<String> names;
        try (Stream<Path> files = Files.walk(classes().resolve("io/nccl4j/bindings"))) {
            names = files.filter(file -> file.toString().endsWith(".class"))
                    .map(file -> classes().relativize(file).toString().replace(".class", "").replace('/', '.')).sorted()
                    .toList();
        }
        List<Class<?>> found = new java.util.ArrayList<>();
        for (String name : names) {
            found.add(Class.forName(name, false, NativeImageMetadataTest.class.getClassLoader()));
        }
        return found;
    }

    private static FunctionDescriptor descriptor(Method method) {
        try {
            method.setAccessible(true);
            return (FunctionDescriptor) method.invoke(null);
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(method + " does not answer", e);
        }
    }

    private static Stream<FunctionDescriptor> descriptors(boolean functions)
            throws IOException, ClassNotFoundException {
        return bindings().stream().flatMap(type -> Stream.of(type.getDeclaredMethods()))
                .filter(method -> Modifier.isStatic(method.getModifiers())
                        && method.getReturnType() == FunctionDescriptor.class && method.getParameterCount() == 0
                        && (functions
                                ? method.getName().endsWith("$descriptor")
                                : method.getName().equals("descriptor")))
                .map(NativeImageMetadataTest::descriptor);
    }

    /** In the words of native-image. */
    static String layout(MemoryLayout layout) {
        return switch (layout) {
            case ValueLayout value -> value.carrier() == MemorySegment.class ? "void*" : "j" + value.carrier();
            case StructLayout struct -> "struct(" + struct.memberLayouts().stream().map(NativeImageMetadataTest::layout)
                    .collect(Collectors.joining(", ")) + ")";
            case SequenceLayout sequence ->
                "sequence(" + sequence.elementCount() + ", " + layout(sequence.elementLayout()) + ")";
            case PaddingLayout padding -> "padding(" + padding.byteSize() + ")";
            default -> throw new AssertionError(layout + " is not known");
        };
    }

    private static String entry(FunctionDescriptor descriptor) {
        return "      {\"returnType\": \""
                + descriptor.returnLayout().map(NativeImageMetadataTest::layout).orElse("void")
                + "\", \"parameterTypes\": [" + descriptor.argumentLayouts().stream()
                        .map(parameter -> "\"" + layout(parameter) + "\"").collect(Collectors.joining(", "))
                + "]}";
    }

    private static String array(String name, Stream<FunctionDescriptor> descriptors) {
        Set<String> entries = descriptors.map(NativeImageMetadataTest::entry)
                .collect(Collectors.toCollection(TreeSet::new));
        return "    \"" + name + "\": [\n" + String.join(",\n", entries) + "\n    ]";
    }

    private static String expected() throws IOException, ClassNotFoundException {
        // A pointer to a function can be called, and one of ours can be handed out.
        Stream<FunctionDescriptor> downcalls = Stream.of(descriptors(true), descriptors(false), BY_HAND.stream())
                .flatMap(stream -> stream);
        Stream<FunctionDescriptor> upcalls = Stream.concat(descriptors(false), UPCALLS_BY_HAND.stream());
        return "{\n  \"foreign\": {\n" + array("downcalls", downcalls) + ",\n" + array("upcalls", upcalls)
                + "\n  },\n  \"resources\": [\n    {\"glob\": \"linux-*/libnccl4j_emulator.so\"}\n  ]\n}\n";
    }

    @Test
    void r20TheMetadataCoverEveryDescriptor() throws Exception {
        if (Boolean.getBoolean("nccl4j.write.metadata")) {
            Files.createDirectories(FILE.getParent());
            Files.writeString(FILE, expected());
        }
        assertThat(descriptors(true).count()).as("functions of the bindings").isGreaterThan(120);
        assertThat(Files.readString(FILE)).isEqualTo(expected());
    }

    /** A call that is linked elsewhere is to be added above. */
    @Test
    void handWrittenCallsAreKnown() throws Exception {
        List<String> places;
        try (Stream<Path> files = Files.walk(Path.of("src/main/java"))) {
            places = files.filter(file -> file.toString().endsWith(".java")).filter(NativeImageMetadataTest::links)
                    .map(file -> file.getFileName().toString()).sorted().toList();
        }
        assertThat(places).containsExactly("AllocatorHooks.java", "HostFunctions.java", "HostName.java",
                "HotCalls.java");
    }

    private static boolean links(Path file) {
        try {
            return Files.readString(file).matches("(?s).*\\.(downcallHandle|upcallStub)\\(.*");
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }
}
