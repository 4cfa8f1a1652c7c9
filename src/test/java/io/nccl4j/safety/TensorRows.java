package io.nccl4j.safety;

import io.nccl4j.ep.EpTensor;

/** Tensors of buffers keep their shape; for explicit calls on some of their rows there are tensors of one's own. */
final class TensorRows {
    private TensorRows() {
    }

    /** A tensor of the first rows of another. */
    static EpTensor of(EpTensor tensor, long rows) {
        return EpTensor.of(tensor.memory(), tensor.type(), tensor.shape()).rows(rows);
    }
}
