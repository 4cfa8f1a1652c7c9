package io.nccl4j.benchmarks.test;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.Window;
import io.nccl4j.testing.HostMirror;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * The tensors of a case and their host sides. Allocated by all ranks in the same order, since windows are collective.
 */
final class TestTensors implements AutoCloseable {
    /** What outputs are filled with before each round, to see what was written. */
    static final byte UNTOUCHED = 0x5a;

    /**
     * A tensor and its host side.
     *
     * @param tensor on the device
     * @param mirror on the host
     */
    record Mirrored(EpTensor tensor, HostMirror mirror) {
    }

    private final Communicator communicator;
    private final Deque<Runnable> closing = new ArrayDeque<>();
    private final List<HostMirror> outputs = new ArrayList<>();

    TestTensors(Communicator communicator) {
        this.communicator = communicator;
    }

    /** A tensor that the host writes. */
    Mirrored input(DataType type, long... shape) {
        DeviceMemory memory = DeviceMemory.allocate(communicator.device(), bytes(type, shape));
        closing.push(memory::close);
        return mirrored(EpTensor.of(memory, type, shape));
    }

    /** A tensor that the device writes. */
    Mirrored output(DataType type, long... shape) {
        Mirrored output = input(type, shape);
        outputs.add(output.mirror);
        return output;
    }

    /** A tensor that the host writes and peers may read, in a window if {@code windows}. */
    Mirrored sharedInput(boolean windows, DataType type, long... shape) {
        if (!windows) {
            return input(type, shape);
        }
        DeviceMemory memory = communicator.allocate(bytes(type, shape));
        closing.push(memory::close);
        Window window = communicator.register(memory);
        closing.push(window::close);
        return mirrored(EpTensor.inWindow(window.whole(), type, shape));
    }

    /** A tensor that peers may write, in a window if {@code windows}. */
    Mirrored sharedOutput(boolean windows, DataType type, long... shape) {
        Mirrored output = sharedInput(windows, type, shape);
        outputs.add(output.mirror);
        return output;
    }

    private Mirrored mirrored(EpTensor tensor) {
        HostMirror mirror = new HostMirror(tensor);
        closing.push(mirror::close);
        return new Mirrored(tensor, mirror);
    }

    private static long bytes(DataType type, long... shape) {
        long elements = 1;
        for (long extent : shape) {
            elements *= extent;
        }
        return Math.max(16, type.bytes(elements));
    }

    /** Enqueues the filling of all outputs. */
    void fillOutputs(CudaStream stream) {
        for (HostMirror output : outputs) {
            output.host().fill(UNTOUCHED);
            output.toDevice(stream);
        }
    }

    /** Enqueues copies of all outputs to the host. */
    void readOutputs(CudaStream stream) {
        outputs.forEach(output -> output.toHost(stream));
    }

    @Override
    public void close() {
        while (!closing.isEmpty()) {
            closing.pop().run();
        }
    }
}
