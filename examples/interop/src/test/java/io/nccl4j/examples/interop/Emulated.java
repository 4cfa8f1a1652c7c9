package io.nccl4j.examples.interop;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Programs that find the emulator in a folder, under the names of the libraries that it stands for. */
record Emulated(Path folder) {
    /** Lays the emulator into a folder. */
    static Emulated in(Path folder) throws IOException {
        Emulated made = new Emulated(folder);
        try (InputStream in = Emulated.class.getResourceAsStream("/linux-x86_64/libnccl4j_emulator.so")) {
            Files.copy(in, made.library());
        }
        for (String name : List.of("libcudart.so.13", "libcuda.so.1", "libnccl.so.2", "libnccl_ep.so.0")) {
            Files.createSymbolicLink(folder.resolve(name), made.library());
        }
        return made;
    }

    private Path library() {
        return folder.resolve("libnccl4j_emulator.so");
    }

    /** Of a class with main. */
    List<String> java(Class<?> program, String... arguments) {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED", "-Dnccl4j.backend=emulator",
                "-Dnccl4j.emulator.library=" + library(), "-Dorg.bytedeco.javacpp.cachedir=" + folder.resolve("cache"),
                "-cp", System.getProperty("java.class.path"), program.getName()));
        command.addAll(List.of(arguments));
        return command;
    }

    /** A program under way, whose output goes to a file. */
    record Running(Process process, Path output) implements AutoCloseable {
        String end() throws IOException, InterruptedException {
            assertThat(process.waitFor(60, TimeUnit.SECONDS)).as(() -> "it ends: " + output).isTrue();
            return Files.readString(output);
        }

        @Override
        public void close() {
            process.destroyForcibly();
        }
    }

    Running start(List<String> command, Map<String, String> environment) throws IOException {
        File output = Files.createTempFile(folder, "output", ".txt").toFile();
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output);
        builder.environment().putAll(environment);
        builder.environment().put("LD_LIBRARY_PATH", folder.toString());
        return new Running(builder.start(), output.toPath());
    }
}
