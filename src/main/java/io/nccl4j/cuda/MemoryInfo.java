package io.nccl4j.cuda;

/**
 * Memory of a device, {@code cudaMemGetInfo}.
 *
 * @param freeBytes what can be allocated
 * @param totalBytes what the device has
 */
public record MemoryInfo(long freeBytes, long totalBytes) {
}
