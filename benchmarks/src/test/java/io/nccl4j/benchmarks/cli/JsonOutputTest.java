package io.nccl4j.benchmarks.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import io.nccl4j.benchmarks.Ep;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Output for machines: one object on standard output, and nothing else, whatever goes to standard error. */
class JsonOutputTest {
    @TempDir
    private Path folder;

    @ParameterizedTest
    @ValueSource(strings = {"demo --ranks 2 --layers 2 --steps 2 --tokens 4 --hidden 512 --experts 8 --topk 2",
            "test --ranks 2 --cases 1 --only bfloat16", "bench --suite emulator --quick",
            "bench --ranks 2 --tokens 8 --hidden 512 --experts 8 --topk 2 --iterations 2 --warmup 0",
            "patterns --layers 2 --steps 2", "faults --only KILL_GRAPH"})
    void oneObjectAndNothingElse(String command) throws IOException, InterruptedException {
        List<String> line = new ArrayList<>(
                List.of(System.getProperty("java.home") + "/bin/java", "--enable-native-access=ALL-UNNAMED", "-cp",
                        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path")),
                        Ep.class.getName()));
        line.addAll(List.of(command.split(" ")));
        line.add("--json");
        Path out = folder.resolve("out");
        Path errors = folder.resolve("errors");
        Process process = new ProcessBuilder(line).redirectOutput(out.toFile()).redirectError(errors.toFile()).start();
        try {
            assertThat(process.waitFor(300, TimeUnit.SECONDS)).as(command).isTrue();
        } finally {
            process.destroyForcibly();
        }
        String printed = Files.readString(out, StandardCharsets.UTF_8);
        assertThat(process.exitValue()).as("%s: %s", printed, Files.readString(errors)).isZero();
        assertThat(new Gson().getAdapter(JsonObject.class).fromJson(printed).isEmpty()).isFalse();
    }
}
