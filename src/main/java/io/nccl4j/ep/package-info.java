/**
 * Mixture-of-Experts dispatch and combine, NVIDIA NCCL EP.
 *
 * <p>An {@link io.nccl4j.ep.EpGroup} is made once per communicator from an {@link io.nccl4j.ep.EpGroupConfig}, an
 * {@link io.nccl4j.ep.EpHandle} per MoE layer or batch in flight. Each step updates the handle's routing, dispatches
 * tokens to the ranks of their experts, and combines what the experts make of them: with explicit {@link
 * io.nccl4j.ep.EpTensor tensors}, or on {@link io.nccl4j.ep.EpBuffers} whose addresses never change, eagerly or
 * captured into a graph.
 *
 * <p>A call that the library would answer by ending the process is refused here, before it is made, with an exception
 * that says what was given and what is allowed. A rank cannot see that of the others: all make the same calls in the
 * same order, with the same configuration.
 */
@NullMarked
package io.nccl4j.ep;

import org.jspecify.annotations.NullMarked;
