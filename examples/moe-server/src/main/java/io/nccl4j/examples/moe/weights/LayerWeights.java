package io.nccl4j.examples.moe.weights;

import io.nccl4j.cuda.DeviceMemory;

/**
 * One layer's weights on a device.
 *
 * @param attentionNorm {@code [hidden]}
 * @param qkv {@code [(heads + 2 kvHeads) headSize, hidden]}: queries, keys, values
 * @param queryNorm {@code [headSize]}
 * @param keyNorm {@code [headSize]}
 * @param output {@code [hidden, heads headSize]}
 * @param expertNorm {@code [hidden]}
 * @param router {@code [experts, hidden]}
 * @param gate {@code [localExperts, expertWidth, hidden]}
 * @param up {@code [localExperts, expertWidth, hidden]}
 * @param down {@code [localExperts, hidden, expertWidth]}
 */
public record LayerWeights(DeviceMemory attentionNorm, DeviceMemory qkv, DeviceMemory queryNorm, DeviceMemory keyNorm,
        DeviceMemory output, DeviceMemory expertNorm, DeviceMemory router, DeviceMemory gate, DeviceMemory up,
        DeviceMemory down) {
}
