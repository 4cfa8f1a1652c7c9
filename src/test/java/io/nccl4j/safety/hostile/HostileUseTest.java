package io.nccl4j.safety.hostile;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import io.nccl4j.processes.ChildJvm;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/**
 * {@link HostileUse} in a JVM of its own, whose end by anything but an exit would be seen here. About a minute;
 * {@code -Dhostile.minutes=10} makes it ten, {@code -Dhostile.seed} repeats a run, {@code -Dhostile.only} one sequence
 * of it with every call printed.
 */
class HostileUseTest {
    private static final int SEQUENCES = 200;
    /** Of all sequences together, beyond the minutes that were asked for; against hangs alone. */
    private static final int LIMIT_MINUTES = 30;

    @Test
    void noMistakeIsFatalAndEveryFailureIsDocumented() throws Exception {
        String seed = System.getProperty("hostile.seed", Long.toHexString(new SplittableRandom().nextLong()));
        int minutes = Integer.getInteger("hostile.minutes", 0);
        String only = System.getProperty("hostile.only");
        List<String> arguments = new ArrayList<>(List.of("--seed", seed));
        if (only != null) {
            arguments.addAll(List.of("--only", only, "--verbose", "true"));
        } else if (minutes > 0) {
            arguments.addAll(List.of("--seconds", String.valueOf(TimeUnit.MINUTES.toSeconds(minutes))));
        } else {
            arguments.addAll(List.of("--sequences", String.valueOf(SEQUENCES)));
        }
        System.out.println("hostile use " + arguments);
        assertTimeoutPreemptively(Duration.ofMinutes(minutes + LIMIT_MINUTES), () -> run(arguments, only == null));
    }

    private static void run(List<String> arguments, boolean all) throws Exception {
        try (ChildJvm child = ChildJvm.start(HostileUse.class, Map.of(), arguments.toArray(String[]::new))) {
            String said = child.awaitEnd();
            System.out.println(said);
            assertThat(child.exitCode()).as("%s", said).isZero();
            assertThat(said).endsWith("done");
            if (all) {
                // The whole public API, but for what ApiExclusions gives a reason for.
                assertThat(said).contains("never called 0 []");
            }
        }
    }

    @Test
    void whatIsLeftOutIsThereAndHasAReason() {
        ApiSurface surface = new ApiSurface();
        assertThat(surface.called()).hasSizeGreaterThan(400).contains(
                "EpHandle.dispatch(DispatchInputs,DispatchOutputs,LayoutInfo,CudaStream)",
                "Collectives.allReduce(DeviceMemory,DeviceMemory,long,DataType,ReduceOp,CudaStream)");
        assertThat(ApiExclusions.names()).allSatisfy(
                name -> assertThat(surface.excluded().keySet()).anyMatch(excluded -> excluded.startsWith(name)));
        surface.excluded()
                .forEach((name, reason) -> System.out.println("not called at random: " + name + ": " + reason));
    }
}
