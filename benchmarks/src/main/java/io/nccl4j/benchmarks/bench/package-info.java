/** {@code ep bench}: ratios that describe how fast nccl4j is, each measured within one run on one machine. */
@NullMarked
package io.nccl4j.benchmarks.bench;

import org.jspecify.annotations.NullMarked;
