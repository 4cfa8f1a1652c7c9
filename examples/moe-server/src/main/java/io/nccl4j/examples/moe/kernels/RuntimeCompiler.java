package io.nccl4j.examples.moe.kernels;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.examples.moe.model.ModelException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** CUDA's run-time compiler, NVRTC 13: for a jar that was built where nvcc is missing. */
final class RuntimeCompiler {
    private final ToolkitLibrary library = ToolkitLibrary.open("libnvrtc.so.13", "libnvrtc-builtins.so.13",
            "build this jar where nvcc is: it has no kernels for GPUs, and compiles them when it starts");
    private final MethodHandle create = library.bind("nvrtcCreateProgram",
            FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_INT, ADDRESS, ADDRESS));
    private final MethodHandle compile = library.bind("nvrtcCompileProgram",
            FunctionDescriptor.of(JAVA_INT, ADDRESS, JAVA_INT, ADDRESS));
    private final MethodHandle destroy = library.bind("nvrtcDestroyProgram", FunctionDescriptor.of(JAVA_INT, ADDRESS));
    private final MethodHandle error = library.bind("nvrtcGetErrorString", FunctionDescriptor.of(ADDRESS, JAVA_INT));
    private final MethodHandle cubinSize = reader("nvrtcGetCUBINSize");
    private final MethodHandle cubin = reader("nvrtcGetCUBIN");
    private final MethodHandle logSize = reader("nvrtcGetProgramLogSize");
    private final MethodHandle log = reader("nvrtcGetProgramLog");

    private MethodHandle reader(String function) {
        return library.bind(function, FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS));
    }

    /**
     * Compiles a program to a cubin, within some seconds.
     *
     * @param headers by the names that it includes them by
     * @param architecture such as 90
     * @throws ModelException if there is no compiler, or it finds an error
     */
    byte[] compile(String source, Map<String, String> headers, int architecture) {
        List<String> options = new ArrayList<>(List.of("--gpu-architecture=sm_" + architecture, "--std=c++17"));
        for (Path include : ToolkitLibrary.includes()) {
            options.add("--include-path=" + include);
        }
        try (Arena arena = Arena.ofConfined()) {
            List<Map.Entry<String, String>> all = List.copyOf(headers.entrySet());
            MemorySegment out = arena.allocate(ADDRESS);
            check((int) create.invokeExact(out, arena.allocateFrom(source), arena.allocateFrom("moe.cu"), all.size(),
                    strings(arena, all.stream().map(Map.Entry::getValue).toList()),
                    strings(arena, all.stream().map(Map.Entry::getKey).toList())), "nvrtcCreateProgram");
            MemorySegment program = out.get(ADDRESS, 0);
            try {
                int status = (int) compile.invokeExact(program, options.size(), strings(arena, options));
                if (status != 0) {
                    throw new ModelException("the kernels do not compile with " + String.join(" ", options) + ": "
                            + message(status) + "\n" + new String(read(logSize, log, program, arena)).strip());
                }
                return read(cubinSize, cubin, program, arena);
            } finally {
                check((int) destroy.invokeExact(out), "nvrtcDestroyProgram");
            }
        } catch (Throwable e) {
            throw ToolkitLibrary.unexpected(e);
        }
    }

    private static MemorySegment strings(Arena arena, List<String> strings) {
        MemorySegment pointers = arena.allocate(ADDRESS, Math.max(1, strings.size()));
        for (int i = 0; i < strings.size(); i++) {
            pointers.setAtIndex(ADDRESS, i, arena.allocateFrom(strings.get(i)));
        }
        return pointers;
    }

    private byte[] read(MethodHandle size, MethodHandle content, MemorySegment program, Arena arena) throws Throwable {
        MemorySegment bytes = arena.allocate(JAVA_LONG);
        check((int) size.invokeExact(program, bytes), "asking NVRTC for a size");
        MemorySegment result = arena.allocate(bytes.get(JAVA_LONG, 0));
        check((int) content.invokeExact(program, result), "asking NVRTC for a result");
        return result.toArray(JAVA_BYTE);
    }

    private void check(int status, String call) throws Throwable {
        if (status != 0) {
            throw new IllegalStateException(call + " answered " + message(status));
        }
    }

    private String message(int status) throws Throwable {
        MemorySegment text = (MemorySegment) error.invokeExact(status);
        return text.reinterpret(Long.MAX_VALUE).getString(0);
    }
}
