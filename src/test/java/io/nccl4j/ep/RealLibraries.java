package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.UniqueId;
import java.io.File;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Memory that is not there and addresses that do not fit, which end a process: once refused by Java, once given to
 * the libraries in a process of its own. For one rank on one GPU, or on the emulator; a line for each.
 */
public final class RealLibraries {
    private static final int TOKENS = 8;
    private static final int TOPK = 2;
    private static final int HIDDEN = 512;
    private static final Duration LIMIT = Duration.ofSeconds(60);
    private static final long CHILD_SECONDS = 150;
    private static final long LITTLE = 4L << 20;
    private static final int MOST_HANDLES = 100_000;

    private enum Place {
        INPUT_ROWS(8), OUTPUT_ROWS(8), WEIGHTS(2), ROUTING(4);

        private final int bytes;

        Place(int bytes) {
            this.bytes = bytes;
        }
    }

    private enum Case {
        H1_LL_GROUP, H1_HT_GROUP, H1_GROUP_WITH_LITTLE_FREE, H1_LL_HANDLE, H1_HT_HANDLE, //
        LL_INPUT_ROWS_8, LL_OUTPUT_ROWS_8, LL_WEIGHTS_2, LL_ROUTING_4, //
        HT_INPUT_ROWS_8, HT_OUTPUT_ROWS_8, HT_WEIGHTS_2, HT_ROUTING_4;

        boolean isMemory() {
            return name().startsWith("H1");
        }

        Layout layout() {
            return name().contains("LL_") ? Layout.RANK_MAJOR : Layout.FLAT;
        }

        Place place() {
            return Place.valueOf(name().substring(3, name().lastIndexOf('_')));
        }
    }

    private final Deque<AutoCloseable> owned = new ArrayDeque<>();
    private final CudaDevice device = CudaDevice.of(0);
    private final Communicator communicator;
    private final CudaStream stream;

    private RealLibraries() {
        communicator = own(Communicator.init(UniqueId.create(), 0, 1, device));
        stream = own(CudaStream.create(device));
    }

    /** Without arguments all cases; with that of a case what the library makes of it. */
    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            Case alone = Case.valueOf(arguments[0]);
            Rule.disabled = alone.isMemory() ? Rule.DEVICE_MEMORY : Rule.ADDRESS;
            System.out.println(new RealLibraries().outcome(alone, true));
            System.out.flush();
            // What is broken is not closed.
            Runtime.getRuntime().halt(0);
        }
        System.out.println(io.nccl4j.NativeLibraries.describe().replace('\n', ' '));
        int missing = 0;
        RealLibraries all = new RealLibraries();
        for (Case one : Case.values()) {
            String refusal = all.outcome(one, false);
            boolean refused = refusal.startsWith("IllegalArgumentException")
                    || refusal.startsWith("IllegalStateException")
                    || refusal.startsWith("CudaException") && refusal.contains("cudaMalloc");
            missing += refused ? 0 : 1;
            System.out.println(one + " | " + (refused ? "refused: " : "NOT REFUSED: ") + refusal);
            all.rightStep(Layout.RANK_MAJOR);
            all.rightStep(Layout.FLAT);
        }
        System.out.println("after all of them right steps work; not refused: " + missing);
        all.close();
        for (Case one : Case.values()) {
            System.out.println(one + " | without the check: " + child(one));
        }
        System.out.println("done");
        System.exit(missing);
    }

    private static String child(Case one) throws Exception {
        List<String> command = new ArrayList<>(
                List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--enable-native-access=ALL-UNNAMED", "-XX:-CreateCoredumpOnCrash", "-cp",
                        System.getProperty("java.class.path")));
        for (String name : List.of("nccl4j.backend", "nccl4j.emulator.library", "nccl4j.library.path")) {
            if (System.getProperty(name) != null) {
                command.add(1, "-D" + name + "=" + System.getProperty(name));
            }
        }
        command.addAll(List.of(RealLibraries.class.getName(), one.name()));
        File said = File.createTempFile("nccl4j-case", ".txt");
        Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(said).start();
        boolean ended = process.waitFor(CHILD_SECONDS, TimeUnit.SECONDS);
        process.destroyForcibly().waitFor();
        List<String> lines = java.nio.file.Files.readAllLines(said.toPath());
        said.delete();
        String last = lines.stream().filter(line -> !line.isBlank()).reduce("", (a, b) -> b);
        return (ended ? "exit " + process.exitValue() : "does not end in " + CHILD_SECONDS + " s") + "; " + last;
    }

    private <T extends AutoCloseable> T own(T resource) {
        owned.push(resource);
        return resource;
    }

    private void close() throws Exception {
        while (!owned.isEmpty()) {
            owned.pop().close();
        }
    }

    /** The outcome of a case; everything that it has made is closed if it was refused. */
    private String outcome(Case one, boolean unchecked) {
        int before = owned.size();
        try {
            if (one.isMemory()) {
                memory(one, unchecked);
            } else {
                Set<Place> moved = EnumSet.of(one.place());
                step(one.layout(), EnumSet.noneOf(Place.class));
                step(one.layout(), moved);
            }
            return "no error";
        } catch (Throwable e) {
            return e.getClass().getSimpleName() + ": " + String.valueOf(e.getMessage()).replace('\n', ' ');
        } finally {
            while (!unchecked && owned.size() > before) {
                try {
                    owned.pop().close();
                } catch (Exception e) {
                    System.out.println("close: " + e);
                }
            }
        }
    }

    private void memory(Case one, boolean unchecked) {
        switch (one) {
            case H1_LL_GROUP -> own(EpGroup.create(communicator, EpGroupConfig.lowLatency().experts(256)
                    .maxTokensPerRank(16_383).maxTokenBytes(32_768).layout(Layout.EXPERT_MAJOR).topK(8)));
            case H1_HT_GROUP -> own(EpGroup.create(communicator, EpGroupConfig.highThroughput().experts(64)
                    .maxTokensPerRank(1 << 20).maxTokenBytes(65_536).layout(Layout.FLAT).topK(8)));
            case H1_GROUP_WITH_LITTLE_FREE -> {
                fill(LITTLE);
                own(EpGroup.create(communicator, config(Layout.RANK_MAJOR)));
            }
            default -> {
                Layout layout = one.layout();
                EpGroup group = own(EpGroup.create(communicator, config(layout)));
                fill(0);
                if (unchecked) {
                    initWithoutMemory(group, layout);
                } else {
                    // The driver may have a little room left that it does not count as free.
                    for (int i = 0; i < MOST_HANDLES; i++) {
                        own(group.createHandle());
                    }
                }
            }
        }
    }

    /** As the library is called by those who leave the memory of a handle to it. */
    private static void initWithoutMemory(EpGroup group, Layout layout) {
        try (Arena arena = Arena.ofConfined()) {
            for (int i = 0; i < MOST_HANDLES; i++) {
                int status = NcclEp.ncclEpInitHandle(arena.allocate(ADDRESS), group.segment(), layout.code(),
                        HandleConfig.encode(1, arena), TOPK, MemorySegment.NULL);
                if (status != 0) {
                    throw new IllegalStateException("ncclEpInitHandle answered " + status + " for handle " + i);
                }
            }
        }
    }

    /** Takes all memory but so much, in pieces that become smaller. */
    private void fill(long rest) {
        for (long piece = device.memoryInfo().freeBytes(); piece >= 256; piece /= 2) {
            try {
                while (device.memoryInfo().freeBytes() - rest >= piece) {
                    own(DeviceMemory.allocate(device, piece));
                }
            } catch (RuntimeException e) {
                // Smaller pieces may still be there.
            }
        }
    }

    private static EpGroupConfig config(Layout layout) {
        return (layout == Layout.FLAT ? EpGroupConfig.highThroughput() : EpGroupConfig.lowLatency()).experts(8)
                .maxTokensPerRank(TOKENS).maxTokenBytes(2 * HIDDEN).layout(layout).topK(TOPK);
    }

    private void rightStep(Layout layout) throws Exception {
        int before = owned.size();
        step(layout, EnumSet.noneOf(Place.class));
        while (owned.size() > before) {
            owned.pop().close();
        }
    }

    private void step(Layout layout, Set<Place> moved) {
        EpGroup group = own(EpGroup.create(communicator, config(layout)));
        EpHandle handle = own(group.createHandle());
        EpTensor routing = tensor(moved.contains(Place.ROUTING) ? Place.ROUTING : null, DataType.INT64, TOKENS, TOPK);
        EpTensor tokens = tensor(moved.contains(Place.INPUT_ROWS) ? Place.INPUT_ROWS : null, DataType.BFLOAT16, TOKENS,
                HIDDEN);
        EpTensor weights = tensor(moved.contains(Place.WEIGHTS) ? Place.WEIGHTS : null, DataType.FLOAT32, TOKENS, TOPK);
        Place out = moved.contains(Place.OUTPUT_ROWS) ? Place.OUTPUT_ROWS : null;
        long rows = group.sizing().receiveRows();
        DispatchOutputs outputs = layout == Layout.FLAT
                ? DispatchOutputs.of(tensor(out, DataType.BFLOAT16, rows, HIDDEN),
                        tensor(null, DataType.FLOAT32, rows, TOPK), tensor(null, DataType.INT64, rows, TOPK))
                : DispatchOutputs.of(tensor(out, DataType.BFLOAT16, 1, TOKENS, HIDDEN),
                        tensor(null, DataType.FLOAT32, 1, TOKENS, TOPK), tensor(null, DataType.INT32, 1, TOKENS, TOPK));
        handle.update(routing, null, stream);
        handle.dispatch(DispatchInputs.of(tokens, weights), outputs, null, stream);
        stream.await(LIMIT);
    }

    private EpTensor tensor(@Nullable Place moved, DataType type, long... extents) {
        long bytes = TensorShape.of(type, extents).bytes();
        DeviceMemory memory = own(DeviceMemory.allocate(device, bytes + 256));
        // Zeros: everything is routed to expert 0 and expert 0 counts once per rank.
        memory.fillAsync((byte) 0, stream);
        DeviceMemory part = own(memory.slice(moved == null ? 0 : moved.bytes, bytes));
        return EpTensor.of(part, type, extents);
    }
}
