/**
 * Building blocks of a server on EP handles and graphs: a cache of the graphs of its step, one per number of tokens,
 * and a pool of handles with their buffers. Uses the public API of {@link io.nccl4j.ep} only.
 */
@NullMarked
package io.nccl4j.ep.graph;

import org.jspecify.annotations.NullMarked;
