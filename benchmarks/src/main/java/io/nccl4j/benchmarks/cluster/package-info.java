/** {@code ep bench} without a suite: latency and bandwidth of dispatch and combine, on a cluster or on the emulator. */
@NullMarked
package io.nccl4j.benchmarks.cluster;

import org.jspecify.annotations.NullMarked;
