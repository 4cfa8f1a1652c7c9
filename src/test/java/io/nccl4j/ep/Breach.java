package io.nccl4j.ep;

import java.util.Map;

/**
 * One way to break one rule.
 *
 * @param rule the rule
 * @param name what is done
 * @param evidence what the library makes of it when the rule is switched off
 * @param message a part of the message that names what was given and what is allowed
 * @param environment of the library
 * @param hosts that the ranks are on
 * @param body does it, on every rank
 */
record Breach(Rule rule, String name, Evidence evidence, String message, Map<String, String> environment, int hosts,
        Body body) {
    /** The damage that a rule prevents. */
    enum Evidence {
        /** The emulator records what would have ended the process or corrupted memory. */
        MISUSE,
        /** The library answers with an error code, or the device is lost. */
        ERROR,
        /**
         * Nothing that could be seen in one call: the rule protects threads, memory of others, or what happens later.
         */
        NONE
    }

    /** The wrong deed. */
    @FunctionalInterface
    interface Body {
        void run(RuleBench bench) throws Exception;
    }

    /** Makes one thing wrong in otherwise correct arguments. */
    @FunctionalInterface
    interface Change {
        void apply(RuleBench bench, RuleBench.Calls calls);
    }

    /** An update with something wrong. */
    static Body update(EpGroupConfig config, Change change) {
        return bench -> {
            RuleBench.Calls calls = bench.calls(config);
            change.apply(bench, calls);
            calls.update();
        };
    }

    /** A dispatch with something wrong, after a right update. */
    static Body dispatch(EpGroupConfig config, Change change) {
        return bench -> {
            RuleBench.Calls calls = bench.calls(config).update();
            change.apply(bench, calls);
            calls.dispatch().await();
        };
    }

    /** A combine with something wrong, after a right dispatch. */
    static Body combine(EpGroupConfig config, Change change) {
        return bench -> {
            RuleBench.Calls calls = bench.calls(config).update().dispatch();
            change.apply(bench, calls);
            calls.combine().await();
        };
    }

    static Breach misuse(Rule rule, String name, String message, Body body) {
        return new Breach(rule, name, Evidence.MISUSE, message, Map.of(), 1, body);
    }

    static Breach error(Rule rule, String name, String message, Body body) {
        return new Breach(rule, name, Evidence.ERROR, message, Map.of(), 1, body);
    }

    static Breach unseen(Rule rule, String name, String message, Body body) {
        return new Breach(rule, name, Evidence.NONE, message, Map.of(), 1, body);
    }

    Breach with(String variable) {
        return with(variable, "1");
    }

    Breach with(String variable, String value) {
        return new Breach(rule, name, evidence, message, Map.of(variable, value), hosts, body);
    }

    Breach onHosts(int count) {
        return new Breach(rule, name, evidence, message, environment, count, body);
    }

    @Override
    public String toString() {
        return rule + ": " + name;
    }
}
