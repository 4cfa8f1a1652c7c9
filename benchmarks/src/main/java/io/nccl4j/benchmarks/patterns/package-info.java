/** {@code ep patterns}: what a decode step costs the host, by the way in which it is made. */
@NullMarked
package io.nccl4j.benchmarks.patterns;

import org.jspecify.annotations.NullMarked;
