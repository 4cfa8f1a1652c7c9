/** Statistics of single measurements. */
@NullMarked
package io.nccl4j.benchmarks.stats;

import org.jspecify.annotations.NullMarked;
