package com.example;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.KernelLaunch;
import io.nccl4j.junit.EmulatedRanks;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;

class ExpertLayerTest {
    @Test
    @EmulatedRanks(2) // two ranks as threads, each with an emulated device
    void theLayerWeighsItsExperts(EmulatedCluster cluster) {
        Emulator.kernel("scale_rows", FunctionDescriptor.ofVoid(ADDRESS, ADDRESS, ADDRESS, JAVA_INT, JAVA_INT),
                ExpertLayerTest::scaleRows);
        byte[] image = ".version 9.0".getBytes(); // the emulator looks at names, not at code
        cluster.run(rank -> {
            float[] combined = ExpertLayer.run(rank.bootstrap(), image, 2);
            // Expert e gives e + 1 times its input: (t + 1) * (1/4 * 1 + 3/4 * (t + 2)).
            assertArrayEquals(new float[]{1.75f, 5, 9.75f}, combined);
        });
    }

    /** experts.cu in Java: what all blocks of a launch do. */
    private static void scaleRows(KernelLaunch launch) {
        int rows = launch.grid().x();
        int zones = launch.grid().y();
        int hidden = launch.getInt(4);
        MemorySegment in = launch.memory(0, JAVA_FLOAT, (long) zones * rows * hidden);
        MemorySegment out = launch.memory(1, JAVA_FLOAT, (long) zones * rows * hidden);
        MemorySegment counts = launch.memory(2, JAVA_INT, zones);
        for (int zone = 0; zone < zones; zone++) {
            for (long i = 0; i < (long) counts.getAtIndex(JAVA_INT, zone) * hidden; i++) {
                long at = (long) zone * rows * hidden + i;
                out.setAtIndex(JAVA_FLOAT, at, in.getAtIndex(JAVA_FLOAT, at) * (launch.getInt(3) + zone + 1));
            }
        }
    }
}
