package io.nccl4j.ep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.nccl4j.NativeCallException;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedClusterException;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorMisuse;
import io.nccl4j.junit.EmulatedRanks;
import java.util.EnumSet;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every rule refuses what breaks it, and is needed: without it the library would end the process, or answer with an
 * error.
 */
class RulesTest {
    static Stream<Breach> breaches() {
        return Stream.of(GroupBreaches.all(), HandleBreaches.all(), LowLatencyBreaches.all(),
                HighThroughputBreaches.all(), TeamBreaches.all()).flatMap(List::stream);
    }

    static Stream<Breach> visibleBreaches() {
        return breaches().filter(breach -> breach.evidence() != Breach.Evidence.NONE);
    }

    private static void prepare(Breach breach) {
        breach.environment().forEach(Emulator::environment);
        ExpertMajorMode.environment = name -> breach.environment().containsKey(name)
                ? breach.environment().get(name)
                : System.getenv(name);
    }

    @AfterEach
    void restore() {
        Rule.disabled = null;
        ExpertMajorMode.environment = System::getenv;
    }

    @Test
    void everyRuleIsBrokenOnce() {
        Set<Rule> missing = EnumSet.allOf(Rule.class);
        breaches().map(Breach::rule).forEach(missing::remove);
        assertThat(missing).isEmpty();
    }

    @ParameterizedTest
    @MethodSource("breaches")
    @EmulatedRanks(2)
    void isRefused(Breach breach, EmulatedCluster cluster) {
        prepare(breach);
        cluster.onHosts(breach.hosts()).run(rank -> {
            try (RuleBench bench = new RuleBench(rank)) {
                Throwable thrown = catchThrowable(() -> breach.body().run(bench));
                assertThat(thrown).isInstanceOfAny(IllegalArgumentException.class, IllegalStateException.class,
                        UnsupportedOperationException.class).hasMessageContaining(breach.message());
                rank.bootstrap().barrier();
            }
        });
    }

    @ParameterizedTest
    @MethodSource("visibleBreaches")
    @EmulatedRanks(value = 2, limitSeconds = 20, allowMisuse = true, allowLeaks = true)
    void isNeeded(Breach breach, EmulatedCluster cluster) {
        prepare(breach);
        long before = Emulator.misuses().stream().mapToLong(EmulatorMisuse::sequence).max().orElse(0);
        Queue<Throwable> thrown = new ConcurrentLinkedQueue<>();
        Rule.disabled = breach.rule();
        try {
            cluster.onHosts(breach.hosts()).run(rank -> {
                RuleBench bench = new RuleBench(rank);
                Throwable failure = catchThrowable(() -> breach.body().run(bench));
                if (failure != null) {
                    thrown.add(failure);
                }
                rank.device().observe();
                // Nothing is closed: after misuse the library is in no state to be asked.
                bench.abandon();
            });
        } catch (EmulatedClusterException e) {
            thrown.add(e);
        } finally {
            Rule.disabled = null;
            // A rank may still wait for another that has given up.
            Emulator.breakWaits("the test is over");
            for (int device = 0; device < cluster.size(); device++) {
                CudaDevice.of(device).reset();
            }
            Emulator.allowWaits();
        }
        List<EmulatorMisuse> misuses = Emulator.misuses(before + 1);
        if (breach.evidence() == Breach.Evidence.MISUSE) {
            assertThat(misuses).as("thrown: %s", thrown).isNotEmpty();
        } else {
            assertThat(thrown).as("misuses: %s", misuses).isNotEmpty()
                    .allMatch(failure -> failure instanceof NativeCallException
                            || failure.getCause() instanceof NativeCallException);
        }
    }
}
