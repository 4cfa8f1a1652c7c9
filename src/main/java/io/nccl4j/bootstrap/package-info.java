/**
 * How ranks find each other: threads of one process, processes that share a folder, or processes that reach each other
 * by TCP, also as a launcher (torchrun, Open MPI, SLURM, Kubernetes) has started them. All of them name the ranks that
 * do not come in time.
 */
@NullMarked
package io.nccl4j.bootstrap;

import org.jspecify.annotations.NullMarked;
