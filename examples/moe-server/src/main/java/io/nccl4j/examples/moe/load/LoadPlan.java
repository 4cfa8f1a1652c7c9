package io.nccl4j.examples.moe.load;

import io.nccl4j.examples.moe.model.ModelException;
import java.net.URI;
import java.util.Random;

/**
 * The requests to make.
 *
 * @param url of the server
 * @param clients requests under way at once
 * @param requests in all
 * @param rate of arrivals per second, 0 for none
 * @param prompt tokens of a prompt
 * @param output tokens of a completion
 * @param vocabulary bound of token ids
 * @param seed of prompts and arrivals
 */
public record LoadPlan(URI url, int clients, int requests, double rate, int prompt, int output, int vocabulary,
        long seed) {
    public LoadPlan {
        if (clients < 1 || requests < 1 || prompt < 1 || output < 1 || vocabulary < 1 || rate < 0) {
            throw new ModelException(
                    "clients, requests, prompt, output and vocabulary must be at least 1, the rate at least " + "0: "
                            + clients + ", " + requests + ", " + prompt + ", " + output + ", " + vocabulary + ", "
                            + rate);
        }
    }

    /** The body of one of the requests; the same each time it is asked for. */
    String body(int request) {
        Random random = new Random(seed * 1_000_003 + request);
        StringBuilder body = new StringBuilder("{\"stream\":true,\"ignore_eos\":true,\"temperature\":0,\"max_tokens\":")
                .append(output).append(",\"prompt\":[");
        for (int i = 0; i < prompt; i++) {
            body.append(i == 0 ? "" : ",").append(random.nextInt(vocabulary));
        }
        return body.append("]}").toString();
    }
}
