/** {@code ep launch}: ranks as processes of this machine. */
@NullMarked
package io.nccl4j.benchmarks.launch;

import org.jspecify.annotations.NullMarked;
