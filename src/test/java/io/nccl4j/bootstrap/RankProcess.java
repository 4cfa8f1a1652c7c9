package io.nccl4j.bootstrap;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.ReduceOp;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.time.Duration;

/**
 * One rank in a process of its own. Arguments: {@code environment}, or {@code tcp host port rank size}, or
 * {@code file folder rank size}; then what to do: {@code reduce}, {@code wait} in calls
 * until one fails, {@code watch} without calls until a rank has gone, {@code sleep}, or {@code device}.
 */
public final class RankProcess {
    private RankProcess() {
    }

    /** Prints what happened; ends with 1 after an exception. */
    public static void main(String[] arguments) {
        try (Bootstrap bootstrap = bootstrap(arguments)) {
            System.out.println("met as rank " + bootstrap.rank() + " of " + bootstrap.size());
            act(arguments[arguments.length - 1], bootstrap);
        } catch (RuntimeException | InterruptedException e) {
            System.out.println("failed " + e);
            System.exit(1);
        }
    }

    private static void act(String what, Bootstrap bootstrap) throws InterruptedException {
        switch (what) {
            case "reduce" -> System.out.println("sum " + reduce(bootstrap));
            case "wait" -> {
                while (true) {
                    bootstrap.barrier();
                }
            }
            case "watch" -> {
                while (bootstrap.goneRanks().isEmpty()) {
                    Thread.sleep(5);
                }
                bootstrap.goneRanks().forEach((rank, how) -> System.out.println("gone " + rank + " " + how));
            }
            case "sleep" -> Thread.sleep(Duration.ofMinutes(5));
            case "device" -> {
                Emulator.use();
                System.out.println("device " + bootstrap.device().ordinal());
            }
            default -> throw new IllegalArgumentException(what);
        }
    }

    private static Bootstrap bootstrap(String[] arguments) {
        BootstrapOptions options = BootstrapOptions.defaults().limit(Duration.ofSeconds(30));
        return switch (arguments[0]) {
            case "environment" -> Bootstraps.fromEnvironment(options);
            case "tcp" -> Bootstraps.tcp(arguments[1], Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]),
                    Integer.parseInt(arguments[4]), options);
            case "file" -> Bootstraps.file(Path.of(arguments[1]), Integer.parseInt(arguments[2]),
                    Integer.parseInt(arguments[3]), options);
            default -> throw new IllegalArgumentException(arguments[0]);
        };
    }

    private static int reduce(Bootstrap bootstrap) {
        Emulator.use();
        CudaDevice device = CudaDevice.of(bootstrap.localRank());
        try (Communicator communicator = Communicator.init(bootstrap, device);
                CudaStream stream = CudaStream.create(device);
                DeviceMemory buffer = DeviceMemory.allocate(device, 4);
                Arena arena = Arena.ofConfined()) {
            MemorySegment value = arena.allocateFrom(ValueLayout.JAVA_INT, 1 << bootstrap.rank());
            buffer.copyFrom(value);
            communicator.collectives().allReduce(buffer, buffer, 1, DataType.INT32, ReduceOp.SUM, stream);
            stream.await(Duration.ofSeconds(20));
            buffer.copyTo(value);
            return value.get(ValueLayout.JAVA_INT, 0);
        }
    }
}
