package io.nccl4j.cuda;

/**
 * Stream priorities that a device has; a lower number goes first.
 *
 * @param least the number of the lowest priority
 * @param greatest the number of the highest priority
 */
public record PriorityRange(int least, int greatest) {
}
