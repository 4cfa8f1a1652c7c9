package io.nccl4j.benchmarks.bench;

import io.nccl4j.benchmarks.layer.LayerShape;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.testing.LayerKind;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** A program that runs a layer of 64 ranks and prints the most memory that it had resident, in KiB. */
final class PeakMemory {
    /** The kind of memory that is measured. */
    static final String WHAT = "64 ranks, LL RANK_MAJOR, 32 tokens, hidden 7168";

    private static final LayerShape SHAPE = LayerShape.bfloat16(LayerKind.LL_RANK_MAJOR, 64, 256, 8, 32, 7168);
    private static final Path STATUS = Path.of("/proc/self/status");
    private static final String PEAK = "VmHWM:";

    private PeakMemory() {
    }

    public static void main(String[] arguments) throws IOException {
        Emulator.use();
        Emulator.options().poison(false);
        new ScalePoint(SHAPE, 3).measure();
        System.out.println(Files.readAllLines(STATUS).stream().filter(line -> line.startsWith(PEAK)).findFirst()
                .map(line -> line.substring(PEAK.length()).replaceAll("\\D", "")).orElseThrow());
    }

    /** Bytes, of a process of its own. */
    static long measure() throws IOException, InterruptedException {
        return Long.parseLong(FreshJvm.run(FreshJvm.java(PeakMemory.class)).line()) << 10;
    }
}
