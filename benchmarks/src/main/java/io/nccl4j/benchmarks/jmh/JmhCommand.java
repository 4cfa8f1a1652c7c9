package io.nccl4j.benchmarks.jmh;

import io.nccl4j.benchmarks.cli.OutputOption;
import io.nccl4j.benchmarks.cli.QuickOption;
import io.nccl4j.benchmarks.cli.Usage;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.openjdk.jmh.runner.RunnerException;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code ep jmh}. */
@Command(name = "jmh",
        description = "Host cost of the calls made per step: from C, through bare handles, through the API.",
        footer = {"", "The libraries called check size and magic of each struct and return, so the time is the "
                + "caller's own. Times are nanoseconds per call; garbage is bytes per call through the API."})
public final class JmhCommand implements Callable<Integer> {
    private static final int ROUNDS = 5;

    @Spec
    private CommandSpec spec;

    @Parameters(arity = "0..1", paramLabel = "CALL", defaultValue = "",
            description = "Only calls whose names contain this: update, dispatch, combine, staged (the send half and "
                    + "complete), async (update, dispatch and combine on fixed buffers), launch (of a graph).")
    private String pattern = "";

    @Mixin
    private final QuickOption quick = new QuickOption();

    @Option(names = "--jvm", paramLabel = "OPTION",
            description = "A further option for the measured JVM, such as -XX:+UseSystemMemoryBarrier or -Xint. May "
                    + "be repeated.")
    private List<String> jvmOptions = new ArrayList<>();

    @Mixin
    private final OutputOption output = new OutputOption();

    @Override
    public Integer call() throws RunnerException, IOException, InterruptedException {
        List<String> calls = HostRounds.CALLS.stream().filter(call -> call.contains(pattern)).toList();
        new Usage(spec).require(!calls.isEmpty(), "%s: no call has this in its name; they are %s", pattern,
                HostRounds.CALLS);
        List<HostCost> costs = new HostRounds(new HostMeasurement(jvmOptions, output.isJson()), quick.choose(1, ROUNDS))
                .measure(calls);
        output.print(Map.of("costs", costs, "jvm", jvmOptions), () -> HostCost.table(costs));
        return 0;
    }
}
