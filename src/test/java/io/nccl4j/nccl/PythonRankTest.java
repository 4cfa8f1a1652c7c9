package io.nccl4j.nccl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.junit.EmulatedRanks;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A job of two ranks, this one and one in Python, which get NCCL's unique id by a file. */
@EmulatedRanks(1)
class PythonRankTest {
    private static final Duration LIMIT = Duration.ofSeconds(20);

    @TempDir
    Path folder;

    private static boolean hasPython() {
        return Stream.of(System.getenv("PATH").split(":"))
                .anyMatch(path -> Files.isExecutable(Path.of(path, "python3")));
    }

    /** The emulator under the names of the libraries that it stands for. */
    private Path libraries() throws IOException {
        Path lib = Files.createDirectory(folder.resolve("lib"));
        for (String name : List.of("libcudart.so.13", "libnccl.so.2")) {
            Files.createSymbolicLink(lib.resolve(name), Path.of(System.getProperty("nccl4j.emulator.library")));
        }
        return lib;
    }

    private Process python(Path idFile, Path output) throws IOException {
        ProcessBuilder builder = new ProcessBuilder("python3", "src/test/python/other_rank.py", idFile.toString())
                .redirectErrorStream(true).redirectOutput(output.toFile());
        builder.environment().putAll(
                Map.of("RANK", "1", "WORLD_SIZE", "2", "LOCAL_RANK", "1", "LD_LIBRARY_PATH", libraries().toString()));
        return builder.start();
    }

    @Test
    void aRankInPythonJoinsByTheFileOfTheUniqueId(EmulatedCluster cluster) {
        assumeTrue(hasPython(), "no python3");
        cluster.run(rank -> {
            Path idFile = folder.resolve("unique-id");
            Path output = folder.resolve("output.txt");
            Process python = python(idFile, output);
            try {
                UniqueId id = UniqueId.create();
                // Renamed, so that nobody reads a part.
                Path partial = Files.write(folder.resolve("partial"), id.toBytes());
                Files.move(partial, idFile, StandardCopyOption.ATOMIC_MOVE);
                assertThat(sum(id, rank.device())).isEqualTo(42);
                assertThat(python.waitFor(LIMIT.toSeconds(), TimeUnit.SECONDS)).isTrue();
                assertThat(Files.readString(output)).isEqualTo("rank 1 of 2 has 42\n");
                assertThat(python.exitValue()).isZero();
            } finally {
                python.destroyForcibly();
            }
        });
    }

    private static int sum(UniqueId id, CudaDevice device) {
        CommunicatorOptions options = CommunicatorOptions.defaults().limit(LIMIT);
        try (Communicator communicator = Communicator.init(id, 0, 2, device, options);
                CudaStream stream = CudaStream.create(device);
                DeviceMemory number = DeviceArrays.ints(device, 2)) {
            communicator.collectives().allReduce(number, number, 1, DataType.INT32, ReduceOp.SUM, stream);
            stream.await(LIMIT);
            return DeviceArrays.ints(number)[0];
        }
    }
}
