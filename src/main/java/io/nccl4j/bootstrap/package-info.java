/**
 * How ranks find each other: threads of one process, processes that share a folder, or processes that know where rank 0
 * listens, also as a launcher (torchrun, Open MPI, SLURM, Kubernetes) has started them. Ranks that do not come in time
 * are named.
 *
 * <p>Messages between processes are authenticated, not encrypted. Without a secret, TCP on the loopback guards against
 * accidents only: every user of the machine could pass for a rank.
 */
@NullMarked
package io.nccl4j.bootstrap;

import org.jspecify.annotations.NullMarked;
