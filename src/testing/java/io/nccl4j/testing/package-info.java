/**
 * One Mixture-of-Experts layer on a rank, for tests and benchmarks of code that uses NCCL EP: {@link
 * io.nccl4j.testing.MoeRank} makes what it needs, {@link io.nccl4j.testing.MoeLayer} loads a batch, enqueues a step and
 * compares what it has given with {@link io.nccl4j.oracle}. Works on the emulator and on GPUs.
 */
@NullMarked
package io.nccl4j.testing;

import org.jspecify.annotations.NullMarked;
