package io.nccl4j.examples.moe.step;

/** How a step reaches the device. */
public enum StepMode {
    /** One call per kernel, and a handle created and destroyed for each layer: for comparison. */
    HANDLE_PER_LAYER,
    /** One call per kernel. */
    EAGER,
    /** Graphs for the work between dispatch and combine; these two are called. */
    PIECEWISE,
    /** The whole step as one graph. */
    GRAPH
}
