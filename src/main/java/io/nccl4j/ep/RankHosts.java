package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.HostName;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32C;

/**
 * The hosts of a communicator's ranks. NCCL EP tells hosts by their names, NCCL by other means: where a name stands for
 * several hosts the library would go wrong on the device.
 *
 * @param name of this rank's host
 * @param hostOf a number for the host of every rank; equal names have equal numbers
 */
record RankHosts(String name, List<Long> hostOf) {

    /** Asks all ranks. Collective, with the communicator's limit. */
    static RankHosts of(Communicator communicator) {
        String name = HostName.of(communicator.device().ordinal());
        return new RankHosts(name, communicator.callCollectively("the comparison of host names", communicator.limit(),
                () -> exchange(communicator, number(name))));
    }

    private static long number(String name) {
        byte[] text = name.getBytes(StandardCharsets.UTF_8);
        CRC32C sum = new CRC32C();
        sum.update(text);
        return (long) Arrays.hashCode(text) << 32 | sum.getValue();
    }

    private static List<Long> exchange(Communicator communicator, long mine) {
        int ranks = communicator.size();
        try (CudaStream stream = CudaStream.create(communicator.device());
                DeviceMemory own = DeviceMemory.allocate(communicator.device(), Long.BYTES);
                DeviceMemory all = DeviceMemory.allocate(communicator.device(), (long) ranks * Long.BYTES);
                Arena arena = Arena.ofConfined()) {
            MemorySegment numbers = arena.allocate(JAVA_LONG, ranks);
            numbers.set(JAVA_LONG, 0, mine);
            own.copyFrom(numbers.asSlice(0, Long.BYTES));
            communicator.collectives().allGather(own, all, 1, DataType.INT64, stream);
            stream.await(communicator.limit());
            all.copyTo(numbers);
            return Arrays.stream(numbers.toArray(JAVA_LONG)).boxed().toList();
        }
    }

    /** Number of ranks on each host. */
    Map<Long, Integer> sizes() {
        Map<Long, Integer> sizes = new LinkedHashMap<>();
        hostOf.forEach(host -> sizes.merge(host, 1, Integer::sum));
        return sizes;
    }

    /** Whether ranks of one host are apart from each other, so that teams are smaller than hosts. */
    boolean alternate() {
        int runs = 1;
        for (int rank = 1; rank < hostOf.size(); rank++) {
            runs += hostOf.get(rank).equals(hostOf.get(rank - 1)) ? 0 : 1;
        }
        return runs > sizes().size();
    }
}
