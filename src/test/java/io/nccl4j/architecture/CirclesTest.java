package io.nccl4j.architecture;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.NativeObject;
import java.io.IOException;
import java.lang.classfile.ClassFile;
import java.lang.classfile.ClassModel;
import java.lang.classfile.constantpool.ClassEntry;
import java.lang.classfile.constantpool.NameAndTypeEntry;
import java.lang.classfile.constantpool.PoolEntry;
import java.lang.classfile.constantpool.Utf8Entry;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * No knots: up to four public classes may need each other, since they create each other; of other classes no more than
 * two. Computed from the class files. A nested class belongs to the outermost one; {@code permits} and annotations do
 * not count.
 */
class CirclesTest {
    private static final int MOST_PUBLIC = 4;
    private static final int MOST = 2;
    /** Packages whose knots are being undone; to be empty. */
    private static final List<String> EXCEPTIONS = List.of();
    private static final Pattern DESCRIPTOR_TYPE = Pattern.compile("L(io/nccl4j/[\\w/$]+)[;<]");

    private final Map<String, Set<String>> needs = new TreeMap<>();
    private final Set<String> publicClasses = new TreeSet<>();

    @Test
    void noCircleIsLargerThanAllowed() throws IOException {
        read();
        assertThat(needs).containsKeys("io/nccl4j/cuda/CudaStream", "io/nccl4j/nccl/Window", "io/nccl4j/NativeObject");
        List<String> tooLarge = circles().stream().filter(circle -> !isAllowed(circle))
                .filter(circle -> circle.stream().noneMatch(name -> EXCEPTIONS.stream().anyMatch(name::startsWith)))
                .map(circle -> circle.size() + " classes: " + String.join(", ", circle)).toList();
        assertThat(tooLarge).as("circles of classes that need each other").isEmpty();
    }

    @Test
    void aCircleIsFound() throws IOException {
        read();
        assertThat(circles()).anySatisfy(circle -> assertThat(circle).contains("io/nccl4j/cuda/CudaStream",
                "io/nccl4j/cuda/CudaGraph", "io/nccl4j/cuda/CudaGraphExec", "io/nccl4j/cuda/CudaEvent"));
    }

    private boolean isAllowed(Set<String> circle) {
        return circle.size() <= MOST || circle.size() <= MOST_PUBLIC && publicClasses.containsAll(circle);
    }

    private void read() throws IOException {
        Path classes = Path
                .of(URI.create(NativeObject.class.getProtectionDomain().getCodeSource().getLocation().toString()));
        try (Stream<Path> files = Files.walk(classes)) {
            for (Path file : files.filter(path -> path.toString().endsWith(".class")).toList()) {
                String name = classes.relativize(file).toString().replace(".class", "");
                if (!name.endsWith("-info") && !name.startsWith("io/nccl4j/bindings/")) {
                    read(ClassFile.of().parse(file));
                }
            }
        }
    }

    private void read(ClassModel model) {
        String name = model.thisClass().asInternalName();
        if (!name.contains("$") && model.flags().has(java.lang.reflect.AccessFlag.PUBLIC)) {
            publicClasses.add(name);
        }
        Set<String> used = new TreeSet<>();
        Set<String> permitted = new TreeSet<>();
        model.findAttribute(java.lang.classfile.Attributes.permittedSubclasses())
                .ifPresent(all -> all.permittedSubclasses().forEach(one -> permitted.add(one.asInternalName())));
        for (PoolEntry entry : model.constantPool()) {
            if (entry instanceof ClassEntry type && !permitted.contains(type.asInternalName())) {
                used.add(type.asInternalName());
            } else if (entry instanceof NameAndTypeEntry member) {
                addTypes(used, member.type());
            }
        }
        model.fields().forEach(field -> addTypes(used, field.fieldType()));
        model.methods().forEach(method -> addTypes(used, method.methodType()));
        Set<String> others = needs.computeIfAbsent(outermost(name), key -> new TreeSet<>());
        used.stream().map(CirclesTest::outermost).filter(other -> other.startsWith("io/nccl4j/"))
                .filter(other -> !other.startsWith("io/nccl4j/bindings/") && !other.equals(outermost(name)))
                .forEach(others::add);
    }

    private static void addTypes(Set<String> used, Utf8Entry descriptor) {
        Matcher types = DESCRIPTOR_TYPE.matcher(descriptor.stringValue());
        while (types.find()) {
            used.add(types.group(1));
        }
    }

    private static String outermost(String name) {
        String element = name.startsWith("[") ? name.replaceAll("^\\[+L|;$", "") : name;
        int nested = element.indexOf('$');
        return nested < 0 ? element : element.substring(0, nested);
    }

    /** The strongly connected parts with more than one class, by Tarjan's algorithm. */
    private List<Set<String>> circles() {
        List<Set<String>> found = new ArrayList<>();
        Map<String, Integer> index = new HashMap<>();
        Map<String, Integer> low = new HashMap<>();
        Deque<String> stack = new ArrayDeque<>();
        for (String name : needs.keySet()) {
            if (!index.containsKey(name)) {
                visit(name, index, low, stack, found);
            }
        }
        return found;
    }

    private void visit(String name, Map<String, Integer> index, Map<String, Integer> low, Deque<String> stack,
            List<Set<String>> found) {
        int number = index.size();
        index.put(name, number);
        low.put(name, number);
        stack.push(name);
        for (String other : needs.getOrDefault(name, Set.of())) {
            if (!index.containsKey(other)) {
                visit(other, index, low, stack, found);
                low.merge(name, low.get(other), Math::min);
            } else if (stack.contains(other)) {
                low.merge(name, index.get(other), Math::min);
            }
        }
        if (low.get(name) == number) {
            Set<String> circle = new TreeSet<>();
            String member;
            do {
                member = stack.pop();
                circle.add(member);
            } while (!member.equals(name));
            if (circle.size() > 1) {
                found.add(circle);
            }
        }
    }
}
