package io.nccl4j.examples.moe.http;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import io.nccl4j.examples.moe.model.ModelConfig;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;

/**
 * A body of {@code POST /v1/completions}. Fields of OpenAI's that would change the result and are not served are
 * refused; others are ignored.
 *
 * @param prompt tokens, at least one
 * @param maxTokens how many to sample at most
 * @param temperature 0 for the best token each time
 * @param seed of sampling
 * @param stream whether tokens are sent as they come
 * @param endTokens that end it
 */
record CompletionRequest(int[] prompt, int maxTokens, float temperature, long seed, boolean stream,
        Set<Integer> endTokens) {
    private static final int DEFAULT_TOKENS = 16;
    private static final double HOTTEST = 100;
    /** The form that a field must have if it is there. */
    private static final List<String> ONES = List.of("n", "best_of", "top_p");
    private static final List<String> ZEROS = List.of("presence_penalty", "frequency_penalty");
    private static final List<String> ABSENT = List.of("stop", "suffix", "logit_bias", "logprobs");

    static CompletionRequest parse(String body, ModelConfig model, int context, @Nullable TextCodec codec)
            throws HttpFailure {
        JsonObject json = object(body);
        if (has(json, "model") && !model.name().equals(text(json, "model"))) {
            throw new HttpFailure(404,
                    "there is no model \"" + text(json, "model") + "\" here: this is " + model.name());
        }
        refuseOthers(json);
        int[] prompt = prompt(json, model, codec);
        int maxTokens = (int) number(json, "max_tokens", DEFAULT_TOKENS, 1, Integer.MAX_VALUE, true);
        if ((long) prompt.length + maxTokens > context) {
            throw new HttpFailure(400, "the prompt has " + prompt.length + " tokens and max_tokens is " + maxTokens
                    + ": together at most " + context + " fit");
        }
        boolean ignoreEnd = bool(json, "ignore_eos");
        return new CompletionRequest(
                prompt, maxTokens, (float) number(json, "temperature", 1, 0, HOTTEST, false), (long) number(json,
                        "seed", ThreadLocalRandom.current().nextInt(1 << 30), Long.MIN_VALUE, Long.MAX_VALUE, true),
                bool(json, "stream"), ignoreEnd ? Set.of() : model.endTokens());
    }

    private static JsonObject object(String body) throws HttpFailure {
        try {
            if (JsonParser.parseString(body) instanceof JsonObject object) {
                return object;
            }
        } catch (JsonParseException | StackOverflowError e) {
            throw new HttpFailure(400, "the body is no JSON: " + firstLine(e));
        }
        throw new HttpFailure(400, "the body is no JSON object");
    }

    private static String firstLine(Throwable e) {
        String message = e.getMessage();
        return message == null ? "nested too deeply" : message.lines().findFirst().orElse("");
    }

    private static void refuseOthers(JsonObject json) throws HttpFailure {
        for (String field : ONES) {
            number(json, field, 1, 1, 1, false);
        }
        for (String field : ZEROS) {
            number(json, field, 0, 0, 0, false);
        }
        for (String field : ABSENT) {
            if (has(json, field)) {
                throw new HttpFailure(400, field + " is not served: leave it out");
            }
        }
        if (bool(json, "echo")) {
            throw new HttpFailure(400, "echo is not served: leave it out");
        }
    }

    private static int[] prompt(JsonObject json, ModelConfig model, @Nullable TextCodec codec) throws HttpFailure {
        JsonElement prompt = json.get("prompt");
        int[] tokens;
        if (prompt instanceof JsonPrimitive primitive && primitive.isString()) {
            if (codec == null) {
                throw new HttpFailure(400, "the model has no tokenizer.json: give the prompt as an array of token ids");
            }
            tokens = codec.encode(primitive.getAsString());
            for (int token : tokens) {
                if (token >= model.vocabulary()) {
                    throw new HttpFailure(400, "the tokenizer makes token " + token
                            + " of the prompt, and the model has " + model.vocabulary());
                }
            }
        } else if (prompt instanceof JsonArray array) {
            tokens = new int[array.size()];
            for (int i = 0; i < tokens.length; i++) {
                tokens[i] = token(array.get(i), i, model.vocabulary());
            }
        } else {
            throw new HttpFailure(400, "prompt must be a string or an array of token ids");
        }
        if (tokens.length == 0) {
            throw new HttpFailure(400, "the prompt is empty: it must have at least one token");
        }
        return tokens;
    }

    private static int token(JsonElement element, int index, int vocabulary) throws HttpFailure {
        if (element instanceof JsonPrimitive primitive && primitive.isNumber()) {
            double value = primitive.getAsDouble();
            if (value == Math.rint(value) && value >= 0 && value < vocabulary) {
                return (int) value;
            }
        }
        throw new HttpFailure(400,
                "prompt[" + index + "] is " + element + ": a token id is an integer from 0 to " + (vocabulary - 1));
    }

    private static boolean has(JsonObject json, String field) {
        return json.has(field) && !json.get(field).isJsonNull();
    }

    private static String text(JsonObject json, String field) throws HttpFailure {
        if (json.get(field) instanceof JsonPrimitive primitive && primitive.isString()) {
            return primitive.getAsString();
        }
        throw new HttpFailure(400, field + " is " + json.get(field) + ": must be a string");
    }

    private static boolean bool(JsonObject json, String field) throws HttpFailure {
        if (!has(json, field)) {
            return false;
        }
        if (json.get(field) instanceof JsonPrimitive primitive && primitive.isBoolean()) {
            return primitive.getAsBoolean();
        }
        throw new HttpFailure(400, field + " is " + json.get(field) + ": must be true or false");
    }

    private static double number(JsonObject json, String field, double missing, double least, double most,
            boolean whole) throws HttpFailure {
        if (!has(json, field)) {
            return missing;
        }
        if (json.get(field) instanceof JsonPrimitive primitive && primitive.isNumber()) {
            double value = primitive.getAsDouble();
            if (value >= least && value <= most && (!whole || value == Math.rint(value))) {
                return value;
            }
        }
        String allowed = least == most ? plain(least) : "from " + plain(least) + " to " + plain(most);
        throw new HttpFailure(400,
                field + " is " + json.get(field) + ": must be " + (whole ? "an integer " : "") + allowed);
    }

    private static String plain(double value) {
        return value == Math.rint(value) && Math.abs(value) < 1e18
                ? Long.toString((long) value)
                : Double.toString(value);
    }
}
