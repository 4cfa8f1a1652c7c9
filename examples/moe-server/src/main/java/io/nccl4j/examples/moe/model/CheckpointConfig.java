package io.nccl4j.examples.moe.model;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;

/** Reads a Hugging Face {@code config.json}, and refuses what this server would compute wrongly. */
public final class CheckpointConfig {
    private static final String ARCHITECTURE = "Qwen3MoeForCausalLM";

    private final Path file;
    private final JsonObject json;

    private CheckpointConfig(Path file, JsonObject json) {
        this.file = file;
        this.json = json;
    }

    /** The shape of the model in a checkpoint's folder. */
    public static ModelConfig read(Path folder) {
        Path file = folder.resolve("config.json");
        CheckpointConfig config = new CheckpointConfig(file, parse(file));
        config.checkArchitecture();
        Path name = folder.toAbsolutePath().normalize().getFileName();
        return config.model(name == null ? "model" : name.toString(), endTokens(folder, config.json));
    }

    private static JsonObject parse(Path file) {
        if (!Files.isRegularFile(file)) {
            throw new ModelException(file + " is missing: " + file.getParent() + " is no checkpoint folder");
        }
        try {
            return JsonParser.parseString(Files.readString(file)).getAsJsonObject();
        } catch (IOException | JsonParseException | IllegalStateException e) {
            throw new ModelException(file + " cannot be read: " + e.getMessage(), e);
        }
    }

    private void checkArchitecture() {
        JsonElement architectures = json.get("architectures");
        if (architectures == null || !architectures.toString().contains('"' + ARCHITECTURE + '"')) {
            throw new ModelException(
                    file + " is of architecture " + architectures + ": only " + ARCHITECTURE + " is served");
        }
        require("hidden_act", text("hidden_act", "silu"), "silu");
        require("attention_bias", text("attention_bias", "false"), "false");
        require("use_sliding_window", text("use_sliding_window", "false"), "false");
        require("decoder_sparse_step", text("decoder_sparse_step", "1"), "1");
        require("mlp_only_layers", text("mlp_only_layers", "[]"), "[]");
        require("rope_scaling", text("rope_scaling", "null"), "null");
        if (json.get("rope_parameters") instanceof JsonObject rope && rope.has("rope_type")) {
            require("rope_type", rope.get("rope_type").getAsString(), "default");
        }
    }

    private void require(String field, String given, String served) {
        if (!given.equals(served)) {
            throw new ModelException(file + " has " + field + " " + given + ": only " + served + " is served");
        }
    }

    private String text(String field, String missing) {
        JsonElement value = json.get(field);
        return value == null ? missing : value.isJsonPrimitive() ? value.getAsString() : value.toString();
    }

    private ModelConfig model(String name, Set<Integer> endTokens) {
        int hidden = integer("hidden_size");
        int heads = integer("num_attention_heads");
        int headSize = has("head_dim") ? integer("head_dim") : hidden / heads;
        return new ModelConfig(name, integer("num_hidden_layers"), hidden, heads, integer("num_key_value_heads"),
                headSize, integer(has("num_experts") ? "num_experts" : "num_local_experts"),
                integer("num_experts_per_tok"), integer("moe_intermediate_size"),
                Boolean.parseBoolean(text("norm_topk_prob", "false")), integer("vocab_size"),
                Boolean.parseBoolean(text("tie_word_embeddings", "false")), (float) number("rms_norm_eps", json),
                ropeTheta(), integer("max_position_embeddings"), endTokens);
    }

    private double ropeTheta() {
        return json.get("rope_parameters") instanceof JsonObject rope
                ? number("rope_theta", rope)
                : number("rope_theta", json);
    }

    private boolean has(String field) {
        return json.has(field) && !json.get(field).isJsonNull();
    }

    private int integer(String field) {
        double value = number(field, json);
        if (value < 1 || value != Math.rint(value) || value > Integer.MAX_VALUE) {
            throw new ModelException(file + " has " + field + " " + value + ": must be a positive integer");
        }
        return (int) value;
    }

    private double number(String field, JsonObject object) {
        JsonElement value = object.get(field);
        if (value == null || !value.isJsonPrimitive() || !value.getAsJsonPrimitive().isNumber()) {
            throw new ModelException(file + " has no number " + field);
        }
        return value.getAsDouble();
    }

    /** Those of generation_config.json if there is one: it has all of them. */
    private static Set<Integer> endTokens(Path folder, JsonObject config) {
        Path generation = folder.resolve("generation_config.json");
        JsonElement value = Files.isRegularFile(generation) ? parse(generation).get("eos_token_id") : null;
        if (value == null) {
            value = config.get("eos_token_id");
        }
        Set<Integer> tokens = new HashSet<>();
        if (value instanceof JsonArray array) {
            array.forEach(token -> tokens.add(token.getAsInt()));
        } else if (value != null && value.isJsonPrimitive()) {
            tokens.add(value.getAsInt());
        }
        return tokens;
    }
}
