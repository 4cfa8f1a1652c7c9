/** One Mixture-of-Experts layer on every rank, with a drawn routing: what benchmarks measure. */
@NullMarked
package io.nccl4j.benchmarks.layer;

import org.jspecify.annotations.NullMarked;
