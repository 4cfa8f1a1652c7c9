/**
 * One Mixture-of-Experts layer on a rank, for tests and benchmarks of code that uses NCCL EP: routes tokens, computes
 * experts, and compares every row with {@link io.nccl4j.oracle}. Works on the emulator and on GPUs. A test of a
 * server's own step:
 *
 * {@snippet :
 * LayerKind kind = LayerKind.LL_EXPERT_MAJOR;
 * EpCase model = EpCase.draw(kind.space(8), 1); // shape, routing, tokens and weights by a seed
 * MoeRank.run(EmulatedCluster.of(8), kind, model, (rank, layer) -> {
 *     rank.checkStep(layer, model.redraw(RoutingKind.SKEWED, 2)); // load, dispatch, experts, combine, verify
 *     rank.checkStep(layer, model, tokens -> myServer.step(layer.buffers(), tokens, rank.stream()));
 * });
 * }
 *
 * <ul>
 * <li><b>Ranks</b>: {@link io.nccl4j.testing.MoeRank} makes communicator, stream, group and layers, and closes them
 * <li><b>The layer</b>: {@link io.nccl4j.testing.MoeLayer} loads a batch, enqueues it eagerly or captured, and
 * verifies; {@link io.nccl4j.testing.LayerKind} is its algorithm and layout
 * <li><b>Below</b>, for layers on other tensors than those of {@link io.nccl4j.ep.EpBuffers}: {@link
 * io.nccl4j.testing.LayerRows} loads and compares, {@link io.nccl4j.testing.LayerCalls} are explicit calls with their
 * arguments, {@link io.nccl4j.testing.HostMirror} is the host's side of a tensor
 * <li><b>Routing</b> is drawn, skewed or given: {@link io.nccl4j.oracle.RoutingKind}, {@link
 * io.nccl4j.oracle.EpCase#of}, {@link io.nccl4j.testing.LayerRows#load(io.nccl4j.oracle.GlobalInputs)}
 * <li><b>Experts</b>: {@link io.nccl4j.testing.ExpertFunction} on values, {@link io.nccl4j.oracle.RowFunction} on
 * bytes; {@code experts} of the layer runs them in stream order, also in a capture
 * </ul>
 */
@NullMarked
package io.nccl4j.testing;

import org.jspecify.annotations.NullMarked;
