/**
 * Hostile use: sequences of right and wrong calls of the whole public API by several ranks, drawn from a seed. {@code
 * HostileUse} runs them, {@code HostileUseTest} runs it in a JVM of its own.
 *
 * <ul>
 * <li><b>What draws</b>: {@code HostileOptions} (the run), {@code HostileSequence} (a cluster, its layer and its
 * faults), {@code HostileFaults}, {@code ApiSurface} with {@code ApiExclusions} (the methods there are), {@code
 * ArgumentSource} (their arguments) out of {@code ObjectPool}
 * <li><b>What plays</b>: {@code HostileRank} picks the actions of a rank on its {@code HostileScene}: {@code
 * RandomCalls} (anything with anything), {@code RightCalls} (steps as they should be, compared with the oracle), {@code
 * HostileSpecials} (what needs a promise or a partner, {@code HostileKernel})
 * <li><b>What judges</b>: {@code HostileTrail} (is what was thrown documented?), {@code HostileRank} (do all ranks come
 * to the same?), {@code HostileSequence} (is anything left alive, has misuse reached the library?), {@code
 * HostileStatistics} (was every method called?); a {@code HostileFailure} ends the run
 * </ul>
 */
package io.nccl4j.safety.hostile;
