/** {@code ep faults}: what is seen when a rank dies, or does things in another order. */
@NullMarked
package io.nccl4j.benchmarks.faults;

import org.jspecify.annotations.NullMarked;
