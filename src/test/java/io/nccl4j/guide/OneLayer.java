package io.nccl4j.guide;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpBuffers;

/** The guide's server with a single layer. */
record OneLayer(GuideModel model) implements DecodeLoop.Server {
    @Override
    public boolean nextBatch() {
        return model.nextBatch();
    }

    @Override
    public void writeBatch(EpBuffers buffers, CudaStream stream) {
        model.load(buffers, stream);
        model.attention(0, buffers, stream);
    }

    @Override
    public void experts(EpBuffers buffers, CudaStream stream) {
        model.experts(0, buffers, stream);
    }

    @Override
    public void readResult(EpBuffers buffers, CudaStream stream) {
        model.use(buffers, stream);
        model.verifyNothingBeyondTheBatch();
    }
}
