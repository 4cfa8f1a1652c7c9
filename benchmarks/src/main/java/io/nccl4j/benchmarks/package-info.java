/**
 * The {@code ep} command, {@link io.nccl4j.benchmarks.Ep}. A room for each sub-command:
 *
 * <ul>
 * <li>{@code demo}: a decode loop of layers, every row verified
 * <li>{@code test}: the correctness matrix
 * <li>{@code bench}: latency and bandwidth on a cluster (measured in {@code cluster}), or a suite of ratios (those of
 * the host are measured in {@code jmh}); also {@code aot}
 * <li>{@code jmh}: host cost of single calls and of decode steps; what JMH runs
 * <li>{@code patterns}: host cost of a step by the way in which it is made
 * <li>{@code faults}: a rank that dies, or that does things in another order
 * <li>{@code launch}: ranks as processes of this machine
 * </ul>
 *
 * <p>They share {@code cli} (options and forms of output), {@code ranks} (ranks as threads), {@code layer} (a layer
 * that is measured: its sizes, calls and bytes) and {@code stats}. The layer itself, its experts and what it must give
 * are {@link io.nccl4j.testing}'s, which is shipped with the emulator.
 */
@NullMarked
package io.nccl4j.benchmarks;

import org.jspecify.annotations.NullMarked;
