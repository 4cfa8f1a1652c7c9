package io.nccl4j.examples.moe.step;

/** How a step reaches the device. */
public enum StepMode {
    /** One call per kernel, and a handle created and destroyed for each layer: for comparison. */
    HANDLE_PER_LAYER,
    /** One call per kernel. */
    EAGER,
    /** What lies between dispatch and combine as graphs, these two called. */
    PIECEWISE,
    /** The whole step as one graph. */
    GRAPH
}
