package io.nccl4j.architecture;

import static java.util.stream.Collectors.joining;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaMethodCall;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import io.nccl4j.processes.ProgramRun;
import java.io.IOException;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Two independent derivations of the ABI check each other: what jextract made of NVIDIA's headers, and what a C++
 * compiler makes of the emulator's own declarations. Covers every struct of the bindings and every constant that Java
 * code uses.
 */
class AbiAgreementTest {
    private static final Path NATIVE = Path.of("native");
    private static final List<String> HEADERS = List.of("src/abi/cuda_runtime.h", "src/abi/nccl.h", "src/abi/nccl_ep.h",
            "include/nccl4j_emulator.h");

    private static final Set<String> HEADER_CLASSES = Set.of("CudaRuntime", "Nccl", "NcclEp", "EmulatorControl");

    @Test
    void structsAndConstantsAgree(@TempDir Path folder) throws Exception {
        Map<String, Long> java = new TreeMap<>(structs());
        int facts = java.size();
        java.putAll(constants());
        assertThat(facts).isGreaterThan(150);
        assertThat(java.size() - facts).isGreaterThan(60);

        assertThat(askCompiler(folder, java.keySet())).isEqualTo(java);
    }

    /** sizeof and offsetof expressions of every struct in the bindings, with jextract's values. */
    private static Map<String, Long> structs() throws Exception {
        Map<String, Long> facts = new TreeMap<>();
        for (JavaClass type : new ClassFileImporter().importPackages("io.nccl4j.bindings")) {
            // The emulator has no part in DLPack.
            if (type.getPackageName().endsWith(".dlpack")) {
                continue;
            }
            Class<?> binding = Class.forName(type.getName(), false, AbiAgreementTest.class.getClassLoader());
            Method layout = Arrays.stream(binding.getMethods()).filter(m -> m.getName().equals("layout")).findFirst()
                    .orElse(null);
            if (layout == null || binding.isMemberClass()) {
                continue;
            }
            String name = binding.getSimpleName();
            facts.put("sizeof(" + name + ")", ((GroupLayout) layout.invoke(null)).byteSize());
            for (Method method : binding.getMethods()) {
                if (method.getName().endsWith("$offset")) {
                    String field = method.getName().substring(0, method.getName().length() - "$offset".length());
                    facts.put("offsetof(" + name + ", " + field + ")", (Long) method.invoke(null));
                }
            }
        }
        return facts;
    }

    /** Constants of the bindings that code outside of them reads. */
    private static Map<String, Long> constants() throws Exception {
        Map<String, Long> facts = new TreeMap<>();
        for (JavaClass type : new ClassFileImporter().importPackages("io.nccl4j")) {
            if (type.getPackageName().startsWith("io.nccl4j.bindings")) {
                continue;
            }
            for (JavaMethodCall call : type.getMethodCallsFromSelf()) {
                JavaClass owner = call.getTargetOwner();
                if (owner.getPackageName().startsWith("io.nccl4j.bindings")
                        && call.getTarget().getRawParameterTypes().isEmpty()
                        && HEADER_CLASSES.contains(owner.getSimpleName()) && !call.getName().contains("$")) {
                    Method constant = Class.forName(owner.getName()).getMethod(call.getName());
                    boolean isFunction = Arrays.stream(constant.getDeclaringClass().getMethods())
                            .anyMatch(m -> m.getName().equals(call.getName() + "$descriptor"));
                    if (!isFunction && Modifier.isStatic(constant.getModifiers())) {
                        facts.putAll(value(constant));
                    }
                }
            }
        }
        return facts;
    }

    private static Map<String, Long> value(Method constant) throws Exception {
        Object value = constant.getReturnType() == int.class || constant.getReturnType() == long.class
                || constant.getReturnType() == MemorySegment.class ? constant.invoke(null) : null;
        return switch (value) {
            case Integer i -> Map.of("(int)" + constant.getName(), i.longValue());
            case Long l -> Map.of("(long)" + constant.getName(), l);
            case MemorySegment m -> Map.of("(long)" + constant.getName(), m.address());
            case null, default -> Map.of();
        };
    }

    private static Map<String, Long> askCompiler(Path folder, Iterable<String> expressions) throws Exception {
        List<String> wanted = new ArrayList<>();
        expressions.forEach(wanted::add);
        String prints = wanted.stream()
                .map(e -> "  std::printf(\"%s\\t%lld\\n\", \"" + e + "\", (long long)" + e + ");")
                .collect(joining("\n"));
        Path source = folder.resolve("facts.cpp");
        Files.writeString(source,
                "#include <cstddef>\n#include <cstdio>\n" + HEADERS.stream()
                        .map(h -> "#include \"" + NATIVE.resolve(h).toAbsolutePath() + "\"\n").collect(joining())
                        + "int main() {\n" + prints + "\n}\n");
        Path program = folder.resolve("facts");
        run(List.of("g++", "-std=c++17", "-w", "-I", NATIVE.resolve("src").toAbsolutePath().toString(), "-I",
                NATIVE.resolve("include").toAbsolutePath().toString(), "-o", program.toString(), source.toString()));
        Map<String, Long> facts = new TreeMap<>();
        for (String line : run(List.of(program.toString()))) {
            String[] parts = line.split("\t");
            facts.put(parts[0], Long.parseLong(parts[1]));
        }
        return facts;
    }

    private static List<String> run(List<String> command) throws IOException, InterruptedException {
        ProgramRun done = ProgramRun.of(command, Map.of());
        assertThat(done.exitCode()).as("%s\n%s", command, done.all()).isZero();
        return done.lines();
    }

    /** The classes that the facts come from are all there: a binding that lost its structs would pass unseen. */
    @Test
    void everyStructOfNcclEpIsCovered() throws Exception {
        assertThat(structs().keySet().stream().filter(e -> e.startsWith("sizeof(ncclEp"))
                .sorted(Comparator.naturalOrder()).toList())
                .containsExactlyElementsOf(new TreeSet<>(List.of("sizeof(ncclEpAllocConfig_t)",
                        "sizeof(ncclEpCombineConfig_t)", "sizeof(ncclEpCombineInputs_t)",
                        "sizeof(ncclEpCombineOutputs_t)", "sizeof(ncclEpCompleteConfig)",
                        "sizeof(ncclEpCompleteConfig_t)", "sizeof(ncclEpTensor_t)", "sizeof(ncclEpDispatchConfig_t)",
                        "sizeof(ncclEpDispatchInputs_t)", "sizeof(ncclEpDispatchOutputs_t)",
                        "sizeof(ncclEpGroupConfig_t)", "sizeof(ncclEpHandleConfig_t)", "sizeof(ncclEpLayoutInfo_t)",
                        "sizeof(ncclEpTensor)", "sizeof(ncclEpTensorAllocConfig_t)")));
    }
}
