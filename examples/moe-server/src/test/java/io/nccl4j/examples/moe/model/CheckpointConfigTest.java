package io.nccl4j.examples.moe.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CheckpointConfigTest {
    private static final String CONFIG = """
            {"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 48,
             "num_attention_heads": 32,
             "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
             "moe_intermediate_size": 768, "norm_topk_prob": true, "vocab_size": 151936, "tie_word_embeddings": false,
             "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "rope_scaling": null, "max_position_embeddings": 40960,
             "eos_token_id": 151645, "hidden_act": "silu", "decoder_sparse_step": 1, "mlp_only_layers": []}
            """;

    @TempDir
    private Path folder;

    private ModelConfig read(String json) throws Exception {
        Files.writeString(folder.resolve("config.json"), json);
        return CheckpointConfig.read(folder);
    }

    @Test
    void readsThePublishedShape() throws Exception {
        ModelConfig shape = NamedShapes.of("qwen3-30b-a3b");
        ModelConfig read = read(CONFIG);
        assertThat(read).usingRecursiveComparison().ignoringFields("name", "endTokens").isEqualTo(shape);
        assertThat(read.endTokens()).containsExactly(151_645);
    }

    @Test
    void readsWhatTransformersWritesNow() throws Exception {
        ModelConfig read = read(CONFIG
                .replace("\"rope_theta\": 1000000.0",
                        "\"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\"}")
                .replace("\"num_experts\"", "\"num_local_experts\"").replace("151645", "null"));
        assertThat(read.ropeTheta()).isEqualTo(10_000);
        assertThat(read.experts()).isEqualTo(128);
        assertThat(read.endTokens()).isEmpty();
    }

    @Test
    void takesAllEndTokensOfTheGenerationConfig() throws Exception {
        Files.writeString(folder.resolve("generation_config.json"), "{\"eos_token_id\": [151645, 151643]}");
        assertThat(read(CONFIG).endTokens()).isEqualTo(Set.of(151_645, 151_643));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            Qwen3MoeForCausalLM   | LlamaForCausalLM | only Qwen3MoeForCausalLM is served
            "rope_scaling": null  | "rope_scaling": {"type": "yarn"} | only null is served
            "mlp_only_layers": [] | "mlp_only_layers": [0] | only [] is served
            "hidden_size": 2048,  | "hidden_size": "x", | has no number hidden_size
            "hidden_size": 2048,  | "hidden_size": 0.5, | must be a positive integer
            "vocab_size": 151936, | "x": 1, | has no number vocab_size
            {                     | [ | cannot be read
            """)
    void refuses(String part, String replacement, String message) {
        assertThatThrownBy(() -> read(CONFIG.replaceFirst(java.util.regex.Pattern.quote(part),
                java.util.regex.Matcher.quoteReplacement(replacement)))).isInstanceOf(ModelException.class)
                .hasMessageContaining(message);
    }

    @Test
    void refusesAFolderWithoutAConfig() {
        assertThatThrownBy(() -> CheckpointConfig.read(folder)).isInstanceOf(ModelException.class)
                .hasMessageContaining("is no checkpoint folder");
    }

    @Test
    void refusesShapesThatCannotBeServed() throws Exception {
        assertThatThrownBy(() -> ModelLimits.check(read(CONFIG.replace("2048", "2304")), 1))
                .hasMessage("hidden size 2304: NCCL EP combines rows in multiples of 512, the next is 2560");
        assertThatThrownBy(() -> ModelLimits.check(read(CONFIG), 3))
                .hasMessageContaining("128 experts cannot be shared out");
        assertThatThrownBy(() -> ModelLimits.check(read(CONFIG.replace("\"head_dim\": 128", "\"head_dim\": 64")), 1))
                .hasMessageContaining("the kernels take 128");
    }
}
