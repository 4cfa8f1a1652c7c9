package io.nccl4j.safety.hostile;

import io.nccl4j.NativeObject;
import io.nccl4j.bootstrap.BootstrapOptions;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.DlpackExchange;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.ReduceOp;
import io.nccl4j.nccl.UniqueId;
import io.nccl4j.nccl.Window;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Calls that need a promise, a partner or an object of their own: the methods of {@link ApiExclusions} that are called
 * all the same.
 */
final class HostileSpecials {
    private static final long BYTES = 4096;

    private final HostileScene scene;
    private final RandomCalls calls;

    HostileSpecials(HostileScene scene, RandomCalls calls) {
        this.scene = scene;
        this.calls = calls;
    }

    /** Sends to the next rank, any part of any memory, and receives from the last. */
    void ring() {
        DeviceMemory memory = (DeviceMemory) scene.pool.choose(DeviceMemory.class, scene.random);
        if (memory == null) {
            return;
        }
        int size = scene.rank.size();
        int next = (scene.rank.rank() + 1) % size;
        int last = (scene.rank.rank() + size - 1) % size;
        long[] offsets = {0, 128, -1, memory.byteSize(), Long.MAX_VALUE};
        long[] counts = {16, 16, 16, 0, -1, Long.MAX_VALUE};
        long from = offsets[scene.random.nextInt(offsets.length)];
        long to = offsets[scene.random.nextInt(offsets.length)];
        long count = counts[scene.random.nextInt(counts.length)];
        int wrong = scene.random.nextInt(4) == 0 ? size : 0;
        Communicator.group(() -> {
            scene.communicator.collectives().send(memory, from, count, DataType.INT32, next + wrong, scene.stream);
            scene.communicator.collectives().receive(memory, to, count, DataType.INT32, last + wrong, scene.stream);
        });
        scene.stream.await(HostileScene.LIMIT);
    }

    /** Things of other owners, which keep their promise: the address is right. The rest may be wrong. */
    void foreign() {
        long[] lengths = {BYTES, BYTES, 0, -1, Long.MAX_VALUE};
        long length = lengths[scene.random.nextInt(lengths.length)];
        DeviceMemory theirs = scene.closeLate(DeviceMemory.allocate(scene.rank.device(), BYTES));
        try (DeviceMemory wrapped = scene
                .closeLate(DeviceMemory.wrap(theirs.address(), Math.min(length, BYTES), scene.rank.device()));
                DeviceMemory part = scene.closeLate(wrapped.slice(64, 128));
                CudaStream borrowedStream = scene
                        .closeLate(CudaStream.wrap(scene.stream.address(), scene.rank.device()));
                Communicator borrowed = scene.closeLate(Communicator.borrow(scene.communicator.address(),
                        scene.random.nextInt(4) == 0 ? scene.foreign : scene.rank.device()))) {
            part.fillAsync((byte) -1, borrowedStream);
            scene.pool.add(EpTensor.of(wrapped, DataType.FLOAT32, 4));
            borrowed.checkUsable();
            calls.call("with foreign things: ");
            borrowedStream.await(HostileScene.LIMIT);
        }
    }

    /** Memory that somebody else frees, in a way that may throw. */
    void adopted() {
        DeviceMemory theirs = scene.closeLate(DeviceMemory.allocate(scene.rank.device(), BYTES));
        boolean fails = scene.random.nextInt(3) == 0;
        try (DeviceMemory adopted = scene
                .closeLate(DeviceMemory.adopt(theirs.address(), BYTES, scene.rank.device(), address -> {
                    theirs.close();
                    if (fails) {
                        throw new ArgumentSource.Broken();
                    }
                }))) {
            scene.clear(adopted);
            DlpackExchange.take(DlpackExchange.give(EpTensor.of(adopted, DataType.FLOAT32, 4))).memory().close();
            calls.call("with adopted memory: ");
        }
    }

    /** A communicator of this rank alone that comes to an end in one of the ways there are, and is used afterwards. */
    void shortLife() {
        UniqueId id = UniqueId.create();
        CommunicatorOptions options = CommunicatorOptions.defaults().limit(HostileScene.LIMIT);
        int[] numbers = {0, 0, 0, 0, 0, -1, 1};
        int wrong = numbers[scene.random.nextInt(numbers.length)];
        try (Communicator alone = scene.random.nextBoolean()
                ? Communicator.init(id, wrong, 1, scene.rank.device(), options)
                : Communicator.init(id, 0, 1 + Math.min(wrong, 0), scene.rank.device())) {
            try (DeviceMemory memory = alone.allocate(BYTES); Window window = alone.register(memory)) {
                alone.collectives().allReduce(window.memory(), memory, 16, DataType.INT32, ReduceOp.SUM, scene.stream);
                scene.stream.await(HostileScene.LIMIT);
            }
            end(alone);
            try (DeviceMemory memory = DeviceMemory.allocate(scene.rank.device(), BYTES)) {
                alone.collectives().allReduce(memory, memory, 16, DataType.INT32, ReduceOp.SUM, scene.stream);
            }
        }
    }

    private void end(Communicator alone) {
        int way = scene.random.nextInt(16);
        if (way == 15) {
            scene.sequence.expectLeaks();
            alone.abandon("for the sake of trying");
        } else if (way > 7) {
            alone.abort();
        }
    }

    /** Bootstraps of one rank, and such as cannot be. */
    void bootstraps() {
        int[] ranks = {0, 0, 0, -1, 1, Integer.MAX_VALUE};
        int[] sizes = {1, 1, 1, 0, -1, Integer.MIN_VALUE};
        int[] ports = {29500, 0, -1, 65536};
        int rank = ranks[scene.random.nextInt(ranks.length)];
        int size = sizes[scene.random.nextInt(sizes.length)];
        int port = ports[scene.random.nextInt(ports.length)];
        BootstrapOptions options = BootstrapOptions.defaults().limit(Duration.ofMillis(50));
        List<Supplier<Bootstrap>> ways = List.of(() -> Bootstraps.inProcess(size).getFirst(),
                () -> Bootstraps.inProcess(size, BootstrapOptions.defaults().limit(Duration.ofMillis(port))).getFirst(),
                () -> Bootstraps.tcp("localhost", port, rank, size),
                () -> Bootstraps.tcp("localhost", port, rank, size, options),
                // Rank 0 never comes.
                () -> Bootstraps.tcp("localhost", 1, 1, 2,
                        BootstrapOptions.defaults().limit(Duration.ofMillis(50)).localRank(0)),
                () -> inFolder(rank, size, null), () -> inFolder(rank, size, options));
        try (Bootstrap alone = ways.get(scene.random.nextInt(ways.size())).get()) {
            alone.barrier();
            scene.pool.add(alone);
            alone.exchangeUniqueId();
        }
    }

    private static Bootstrap inFolder(int rank, int size, @Nullable BootstrapOptions options) {
        try {
            Path folder = Files.createTempDirectory("nccl4j-hostile");
            try {
                return options == null
                        ? Bootstraps.file(folder, rank, size)
                        : Bootstraps.file(folder, rank, size, options);
            } finally {
                deleteIfEmpty(folder);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void deleteIfEmpty(Path folder) throws IOException {
        try (var files = Files.list(folder)) {
            if (files.findAny().isPresent()) {
                folder.toFile().deleteOnExit();
                return;
            }
        }
        try {
            Files.delete(folder);
        } catch (DirectoryNotEmptyException e) {
            // A rank in it has just begun.
            folder.toFile().deleteOnExit();
        }
    }

    void closeSomething() {
        Object victim = scene.pool.chooseAny(NativeObject.class, scene.random);
        if (victim instanceof NativeObject resource && resource != scene.communicator && resource != scene.stream) {
            scene.trail.note("close " + resource);
            resource.close();
        }
    }

    /** New memory for routings, the end of some, or a new layer. */
    void renew() {
        switch (scene.random.nextInt(3)) {
            case 0 -> scene.addRoutingMemory();
            case 1 -> scene.closeLayer();
            default -> {
                DeviceMemory memory = scene.anyRoutingMemory();
                if (!memory.isClosed()) {
                    memory.close();
                }
            }
        }
    }
}
