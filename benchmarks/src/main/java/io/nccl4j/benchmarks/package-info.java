/** The {@code ep} command. */
@NullMarked
package io.nccl4j.benchmarks;

import org.jspecify.annotations.NullMarked;
