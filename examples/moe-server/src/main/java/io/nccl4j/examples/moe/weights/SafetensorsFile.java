package io.nccl4j.examples.moe.weights;

import static java.lang.foreign.ValueLayout.JAVA_LONG_UNALIGNED;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.nccl4j.examples.moe.model.ModelException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** A {@code .safetensors} file, mapped: eight bytes of header length, a JSON header, the tensors' bytes. */
final class SafetensorsFile {
    private static final ValueLayout.OfLong LENGTH = JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final long LONGEST_HEADER = 100_000_000;

    private record Entry(String type, long[] shape, MemorySegment data) {
    }

    private final Path path;
    private final Map<String, Entry> entries = new HashMap<>();

    private SafetensorsFile(Path path) {
        this.path = path;
    }

    /** Maps the file for as long as {@code arena} lives. */
    static SafetensorsFile map(Path path, Arena arena) {
        SafetensorsFile file = new SafetensorsFile(path);
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            file.index(channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena));
        } catch (IOException e) {
            throw new ModelException(path + " cannot be read: " + e, e);
        } catch (JsonParseException | IllegalStateException | NumberFormatException e) {
            throw file.broken("its header is no JSON of tensors: " + e.getMessage(), e);
        }
        return file;
    }

    private void index(MemorySegment bytes) {
        long length = bytes.byteSize() < Long.BYTES ? -1 : bytes.get(LENGTH, 0);
        if (length < 2 || length > LONGEST_HEADER || length > bytes.byteSize() - Long.BYTES) {
            throw broken("its header of " + length + " bytes does not fit into " + bytes.byteSize(), null);
        }
        byte[] header = bytes.asSlice(Long.BYTES, length).toArray(ValueLayout.JAVA_BYTE);
        MemorySegment data = bytes.asSlice(Long.BYTES + length);
        JsonObject json = JsonParser.parseString(new String(header, StandardCharsets.UTF_8)).getAsJsonObject();
        for (Map.Entry<String, JsonElement> entry : json.entrySet()) {
            if (!entry.getKey().equals("__metadata__")) {
                entries.put(entry.getKey(), entry(entry.getKey(), entry.getValue().getAsJsonObject(), data));
            }
        }
    }

    private Entry entry(String name, JsonObject json, MemorySegment data) {
        if (!json.has("dtype") || !json.has("shape") || !json.has("data_offsets")) {
            throw broken("tensor " + name + " has no dtype, shape or data_offsets", null);
        }
        long[] shape = longs(json.get("shape"));
        long[] range = longs(json.get("data_offsets"));
        if (range.length != 2 || range[0] < 0 || range[1] < range[0] || range[1] > data.byteSize()) {
            throw broken("tensor " + name + " is said to be at " + Arrays.toString(range) + " of " + data.byteSize()
                    + " bytes", null);
        }
        return new Entry(json.get("dtype").getAsString(), shape, data.asSlice(range[0], range[1] - range[0]));
    }

    private static long[] longs(JsonElement array) {
        return array.getAsJsonArray().asList().stream().mapToLong(JsonElement::getAsLong).toArray();
    }

    private ModelException broken(String reason, @Nullable Throwable cause) {
        return new ModelException(path + " is broken: " + reason, cause);
    }

    Set<String> names() {
        return entries.keySet();
    }

    /** The mapped bytes of a bfloat16 tensor of that shape. */
    MemorySegment bytes(String name, long... shape) {
        Entry entry = entries.get(name);
        if (entry == null) {
            throw broken("it has no tensor " + name, null);
        }
        if (!entry.type.equals("BF16") || !Arrays.equals(entry.shape, shape)) {
            throw new ModelException(name + " in " + path + " is " + entry.type + Arrays.toString(entry.shape)
                    + ": BF16" + Arrays.toString(shape) + " is needed");
        }
        if (entry.data.byteSize() != WeightSource.elements(shape) * Short.BYTES) {
            throw broken("tensor " + name + " has " + entry.data.byteSize() + " bytes for a shape of "
                    + Arrays.toString(shape), null);
        }
        return entry.data;
    }
}
