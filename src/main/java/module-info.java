/**
 * Mixture-of-Experts dispatch and combine with NVIDIA NCCL EP.
 *
 * <p>Grant native access with {@code --enable-native-access=io.nccl4j} (module path) or
 * {@code --enable-native-access=ALL-UNNAMED} (class path).
 *
 * <p>Begin with {@link io.nccl4j.bootstrap.Bootstraps}, by which the ranks find each other, {@link
 * io.nccl4j.nccl.Communicator}, {@link io.nccl4j.ep.EpGroup}, {@link io.nccl4j.ep.EpHandle} and {@link
 * io.nccl4j.ep.EpBuffers}.
 *
 * <p>The emulator's jar has packages for tests, {@link io.nccl4j.emulator}, {@link io.nccl4j.junit}, {@link
 * io.nccl4j.testing} and {@link io.nccl4j.oracle}: {@link io.nccl4j.junit.EmulatedRanks} runs a test on several ranks.
 */
module io.nccl4j {
    requires org.slf4j;
    requires jdk.jfr;
    requires static org.jspecify;

    exports io.nccl4j;
    // The emulator's control interface: its Java API is in a jar of its own, which may be in the unnamed module.
    exports io.nccl4j.bindings.emulator;
    exports io.nccl4j.bootstrap;
    exports io.nccl4j.cuda;
    exports io.nccl4j.ep;
    exports io.nccl4j.ep.graph;
    exports io.nccl4j.nccl;
}
