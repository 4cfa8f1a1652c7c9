/** What the sub-commands of {@code ep} share. */
@NullMarked
package io.nccl4j.benchmarks.cli;

import org.jspecify.annotations.NullMarked;
