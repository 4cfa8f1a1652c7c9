/** The sub-commands of {@code ep} have in common: options, each declared once as a mixin, and forms of output. */
@NullMarked
package io.nccl4j.benchmarks.cli;

import org.jspecify.annotations.NullMarked;
