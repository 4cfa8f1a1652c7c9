/**
 * Mixture-of-Experts dispatch and combine with NVIDIA NCCL EP.
 *
 * <p>Grant native access with {@code --enable-native-access=io.nccl4j} (module path) or
 * {@code --enable-native-access=ALL-UNNAMED} (class path).
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
