package io.nccl4j.junit;

import io.nccl4j.emulator.EmulatedCluster;
import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Inherited;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.parallel.ResourceLock;

/**
 * A test class or method on the emulator. Before each test the emulator is switched on, with its options, faults,
 * presets and logs as after loading and misuse reported; a test fails if it leaves something native alive or NCCL EP
 * was misused. A parameter of type {@link io.nccl4j.emulator.EmulatedCluster} is given a cluster of so many ranks:
 *
 * <pre>{@code
 * @Test
 * @EmulatedRanks(4)
 * void dispatches(EmulatedCluster cluster) {
 *     cluster.run(rank -> { ... });
 * }
 * }</pre>
 *
 * <p>The emulator is global to the process, so such tests do not run at the same time as each other. Where the emulator
 * does not run (it needs Linux), they are skipped. The annotation of a method takes the place of that of its class.
 */
@Documented
@Inherited
@Retention(RetentionPolicy.RUNTIME)
@Target({ElementType.TYPE, ElementType.METHOD})
@ExtendWith(EmulatorExtension.class)
@ResourceLock(EmulatorExtension.LOCK)
public @interface EmulatedRanks {
    /** Number of ranks of the cluster. */
    int value() default 2;

    /** Number of hosts that the ranks are on, equally many on each; see {@link EmulatedCluster#teams}. */
    int hosts() default 1;

    /** Time limit of a run of the cluster. */
    int limitSeconds() default 60;

    /** Whether the test may misuse NCCL EP, because that is what it looks at. */
    boolean allowMisuse() default false;

    /** Whether the test may leave something alive, because it looks at failures after which objects are abandoned. */
    boolean allowLeaks() default false;
}
