/** Ranks as threads of this JVM, on either backend. */
@NullMarked
package io.nccl4j.benchmarks.ranks;

import org.jspecify.annotations.NullMarked;
