package io.nccl4j.benchmarks;

import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.ep.Preflight;
import io.nccl4j.ep.Preflight.Fact;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** Tells which parts of the system are there, where, and how to get those that are missing. */
@Command(name = "info", description = "What nccl4j finds on this machine, and how to get what is missing.",
        footer = "Ends with 1 if something is missing. NCCL4J_BACKEND=emulator asks for the emulator.")
final class InfoCommand implements Callable<Integer> {
    @Mixin
    private OutputOption output = new OutputOption();

    private record Document(boolean complete, List<Fact> facts) {
    }

    @Override
    public Integer call() {
        List<Fact> facts = Preflight.facts();
        boolean complete = facts.stream().allMatch(fact -> fact.remedy() == null);
        output.print(new Document(complete, facts), () -> Preflight.text(facts));
        return complete ? 0 : 1;
    }
}
