package io.nccl4j.ep;

import io.nccl4j.emulator.EpApi;
import java.util.Map;

/**
 * One way to break one rule.
 *
 * @param rule the rule
 * @param name what is done
 * @param evidence what the library makes of it when the rule is switched off
 * @param message a part of the message that names what was given and what is allowed
 * @param api generation of the library
 * @param environment of the library
 * @param body does it, on every rank
 */
record Breach(Rule rule, String name, Evidence evidence, String message, EpApi api, Map<String, String> environment,
        Body body) {
    /** What a rule protects from. */
    enum Evidence {
        /** The emulator records what would have ended the process or corrupted memory. */
        MISUSE,
        /** The library answers with an error code, or the device is lost. */
        ERROR,
        /** Nothing that could be seen in one call: the rule protects threads, memory of others, or what happens later. */
        NONE
    }

    /** The wrong deed. */
    @FunctionalInterface
    interface Body {
        void run(RuleBench bench) throws Exception;
    }

    static Breach misuse(Rule rule, String name, String message, Body body) {
        return new Breach(rule, name, Evidence.MISUSE, message, EpApi.V2, Map.of(), body);
    }

    static Breach error(Rule rule, String name, String message, Body body) {
        return new Breach(rule, name, Evidence.ERROR, message, EpApi.V2, Map.of(), body);
    }

    static Breach unseen(Rule rule, String name, String message, Body body) {
        return new Breach(rule, name, Evidence.NONE, message, EpApi.V2, Map.of(), body);
    }

    Breach v1() {
        return new Breach(rule, name, evidence, message, EpApi.RELEASE_0_1_0, environment, body);
    }

    Breach with(String variable) {
        return new Breach(rule, name, evidence, message, api, Map.of(variable, "1"), body);
    }

    @Override
    public String toString() {
        return rule + ": " + name;
    }
}
