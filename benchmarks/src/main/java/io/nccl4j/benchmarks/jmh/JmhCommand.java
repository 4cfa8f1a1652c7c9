package io.nccl4j.benchmarks.jmh;

import io.nccl4j.benchmarks.cli.Json;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.openjdk.jmh.runner.RunnerException;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code ep jmh}. */
@Command(name = "jmh", description = "Host cost of the calls made per step: from C, through bare handles, through the API.", footer = {
        "",
        "The libraries called check size and magic of each struct and return, so the time is the caller's own. "
                + "Times are nanoseconds per call; garbage is bytes per call through the API."})
public final class JmhCommand implements Callable<Integer> {
    @Parameters(arity = "0..1", paramLabel = "CALL", defaultValue = "", description = "Only calls whose names contain this: update, dispatch, combine, staged (the send half and "
            + "complete), async (update, dispatch and combine on fixed buffers), launch (of a graph).")
    private String pattern = "";

    @Option(names = "--quick", description = "One short fork instead of three: for a first look, not for a record.")
    private boolean quick;

    @Option(names = "--jvm", paramLabel = "OPTION", description = "A further option for the measured JVM, such as "
            + "-XX:+UseSystemMemoryBarrier or -Xint. May be repeated.")
    private List<String> jvmOptions = new ArrayList<>();

    @Option(names = "--json", description = "Print one JSON object instead of a table.")
    private boolean json;

    @Override
    public Integer call() throws RunnerException, IOException, InterruptedException {
        double seconds = quick ? 0.5 : 3;
        Map<String, Double> before = CLoop.run(seconds);
        Map<String, HostMeasurement.Score> scores = new HostMeasurement(jvmOptions, quick, json)
                .run("(Bare|Api)CallBenchmark\\.\\w*" + pattern + "\\w*");
        List<HostCost> costs = HostCost.of(before, CLoop.run(seconds), scores);
        System.out.println(json ? Json.of(Map.of("costs", costs, "jvm", jvmOptions)) : HostCost.table(costs));
        return 0;
    }
}
