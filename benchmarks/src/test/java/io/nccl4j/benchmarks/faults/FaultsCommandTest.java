package io.nccl4j.benchmarks.faults;

import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.benchmarks.launch.ThisProgram;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** The death of rank 1 as rank 0 sees it, on the emulator as on GPUs. */
class FaultsCommandTest {
    @Test
    void theSurvivorGoesOnAndClosesInTime() throws Exception {
        Process process = new ProcessBuilder(ThisProgram.command("faults", "--only", "KILL_GRAPH,CLOSE_LL"))
                .redirectErrorStream(true).start();
        try {
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(process.waitFor(120, TimeUnit.SECONDS)).isTrue();
            assertThat(output).contains("the 20 steps before:", "tokens [3.0]",
                    "asyncError true, mask RankMask({0} of 2)", "the 39 steps after:", "tokens [1.0]",
                    "cannot return any more");
            assertThat(process.exitValue()).as(output).isZero();
        } finally {
            process.destroyForcibly();
        }
    }
}
