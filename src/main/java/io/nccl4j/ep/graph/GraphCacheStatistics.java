package io.nccl4j.ep.graph;

/**
 * Counts of a {@link GraphCache} since it was made.
 *
 * @param graphs graphs in it
 * @param bytes device memory that those took
 * @param hits searches that found a graph
 * @param misses searches that found none
 * @param captures graphs captured
 * @param evictions graphs closed before the cache was
 */
public record GraphCacheStatistics(int graphs, long bytes, long hits, long misses, long captures, long evictions) {
}
