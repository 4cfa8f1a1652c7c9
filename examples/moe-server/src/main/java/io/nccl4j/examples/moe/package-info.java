/**
 * A decode server for Qwen3-MoE models on nccl4j: {@code model} (shapes), {@code weights}, {@code kernels} (our own and
 * cuBLAS), {@code step} (one step of the model on a rank), {@code rank} (ranks as threads or processes), {@code serve}
 * (continuous batching), {@code http}; beside them {@code load} and {@code bench}. {@code emulated} has the kernels in
 * Java for the emulator, {@code reference} the model that those are compared with.
 */
@NullMarked
package io.nccl4j.examples.moe;

import org.jspecify.annotations.NullMarked;
