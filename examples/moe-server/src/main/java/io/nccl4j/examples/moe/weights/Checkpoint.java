package io.nccl4j.examples.moe.weights;

import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.examples.moe.model.ModelException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** The weights of a Hugging Face checkpoint folder: mapped, and copied once, from the page cache to the device. */
public final class Checkpoint implements WeightSource {
    private final Path folder;
    private final Arena arena = Arena.ofShared();
    private final Map<String, SafetensorsFile> files = new HashMap<>();

    /** Maps all files of the folder; what is not asked for is never read. */
    public Checkpoint(Path folder) {
        this.folder = folder;
        boolean done = false;
        try {
            for (Path path : parts(folder)) {
                SafetensorsFile file = SafetensorsFile.map(path, arena);
                file.names().forEach(name -> files.put(name, file));
            }
            done = true;
        } finally {
            if (!done) {
                arena.close();
            }
        }
    }

    private static List<Path> parts(Path folder) {
        try (Stream<Path> list = Files.list(folder)) {
            List<Path> parts = list.filter(path -> path.toString().endsWith(".safetensors")).sorted().toList();
            if (parts.isEmpty()) {
                throw new ModelException(folder + " has no *.safetensors");
            }
            return parts;
        } catch (IOException e) {
            throw new ModelException(folder + " cannot be read: " + e, e);
        }
    }

    private MemorySegment bytes(String name, long... shape) {
        SafetensorsFile file = files.get(name);
        if (file == null) {
            throw new ModelException("the checkpoint in " + folder + " has no tensor " + name);
        }
        return file.bytes(name, shape);
    }

    @Override
    public void load(String name, DeviceMemory target, CudaStream stream, long... shape) {
        target.copyFrom(bytes(name, shape));
    }

    @Override
    public short[] read(String name, long... shape) {
        return bytes(name, shape).toArray(JAVA_SHORT_UNALIGNED);
    }

    @Override
    public void close() {
        arena.close();
    }
}
