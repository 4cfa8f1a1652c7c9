package io.nccl4j.examples.moe.weights;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.examples.moe.model.ModelException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SafetensorsFileTest {
    private static final String TENSOR = "{\"a\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}";

    @TempDir
    private Path folder;

    private Checkpoint open(String header, int dataBytes) throws Exception {
        return open(header, header.length(), dataBytes);
    }

    private Checkpoint open(String header, long length, int dataBytes) throws Exception {
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        ByteBuffer file = ByteBuffer.allocate(8 + json.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
        file.putLong(length).put(json);
        for (int i = 0; i < dataBytes / 2; i++) {
            file.putShort((short) (i + 1));
        }
        Files.write(folder.resolve("model.safetensors"), file.array());
        return new Checkpoint(folder);
    }

    @Test
    void readsATensor() throws Exception {
        try (Checkpoint checkpoint = open(TENSOR, 8)) {
            assertThat(checkpoint.read("a", 2, 2)).containsExactly(1, 2, 3, 4);
        }
    }

    @Test
    void refusesAnotherShapeAndAMissingTensor() throws Exception {
        try (Checkpoint checkpoint = open(TENSOR, 8)) {
            assertThatThrownBy(() -> checkpoint.read("a", 4)).isInstanceOf(ModelException.class)
                    .hasMessageContaining("is BF16[2, 2]: BF16[4] is needed");
            assertThatThrownBy(() -> checkpoint.read("b", 4)).isInstanceOf(ModelException.class)
                    .hasMessageContaining("has no tensor b");
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            {"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}} | 100 | 8 | does not fit
            {"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}} | -1  | 8 | does not fit
            {"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}} | 0   | 6 | is said to be at [0, 8] of 6 bytes
            {"a":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,0]}} | 0   | 8 | is said to be at [8, 0]
            {"a":{"dtype":"BF16","shape":[2,2]}}                      | 0   | 8 | has no dtype, shape or data_offsets
            {"a":3}                                                   | 0   | 8 | no JSON of tensors
            {"a":                                                     | 0   | 8 | no JSON of tensors
            """)
    void refusesABrokenFile(String header, long length, int data, String message) {
        assertThatThrownBy(() -> open(header, length == 0 ? header.length() : length, data))
                .isInstanceOf(ModelException.class).hasMessageContaining(message);
    }

    @Test
    void refusesAFolderWithoutWeights() {
        assertThatThrownBy(() -> new Checkpoint(folder)).isInstanceOf(ModelException.class)
                .hasMessageContaining("has no *.safetensors");
    }
}
