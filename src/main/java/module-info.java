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
    exports io.nccl4j.bootstrap;
    exports io.nccl4j.cuda;
    exports io.nccl4j.emulator;
    exports io.nccl4j.ep;
    exports io.nccl4j.nccl;
}
