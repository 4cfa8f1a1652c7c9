package io.nccl4j.benchmarks.jmh;

import com.github.freva.asciitable.AsciiTable;
import com.github.freva.asciitable.Column;
import com.github.freva.asciitable.ColumnData;
import com.github.freva.asciitable.HorizontalAlign;
import io.nccl4j.benchmarks.cli.Json;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.ToDoubleFunction;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code ep jmh}. */
@Command(name = "jmh", description = "Host cost of the calls made per step: from C, through bare handles, through the API.", footer = {
        "", "The libraries called check size and magic of each struct and return, so the time is the caller's own. "
                + "Times are nanoseconds per call; garbage is bytes per call through the API."})
public final class JmhCommand implements Callable<Integer> {
    private static final List<String> CALLS = List.of("update", "dispatch", "combine", "staged", "async", "launch");

    @Parameters(arity = "0..1", paramLabel = "CALL", defaultValue = "", description = "Only calls whose names contain this: update, dispatch, combine, staged (the send half "
            + "and complete), async (update, dispatch and combine on fixed buffers), launch (of a graph).")
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
        Map<String, RunResult> results = measure();
        Map<String, Double> after = CLoop.run(seconds);
        List<HostCost> costs = new ArrayList<>();
        for (String call : CALLS) {
            RunResult bare = results.get(BareCallBenchmark.class.getName() + "." + call);
            RunResult api = results.get(ApiCallBenchmark.class.getName() + "." + call);
            if (bare != null && api != null) {
                costs.add(new HostCost(call, (before.get(call) + after.get(call)) / 2, score(bare), score(api),
                        garbage(api)));
            }
        }
        System.out.println(json ? Json.of(Map.of("costs", costs, "jvm", jvmOptions)) : table(costs));
        return 0;
    }

    private Map<String, RunResult> measure() throws RunnerException {
        List<String> options = new ArrayList<>(Arrays.asList(CheckingLibraries.jvmOptions()));
        options.addAll(jvmOptions);
        ChainedOptionsBuilder builder = new OptionsBuilder().include("(Bare|Api)CallBenchmark\\..*" + pattern)
                .addProfiler(GCProfiler.class).jvmArgsAppend(options.toArray(String[]::new)).forks(quick ? 1 : 3)
                .warmupIterations(quick ? 3 : 5).warmupTime(TimeValue.milliseconds(quick ? 300 : 1000))
                .measurementIterations(quick ? 3 : 6).measurementTime(TimeValue.milliseconds(quick ? 300 : 1000))
                .shouldFailOnError(true).verbosity(json ? VerboseMode.SILENT : VerboseMode.NORMAL);
        Collection<RunResult> all = new Runner(builder.build()).run();
        Map<String, RunResult> results = new HashMap<>();
        all.forEach(result -> results.put(result.getParams().getBenchmark(), result));
        return results;
    }

    private static double score(RunResult result) {
        return result.getPrimaryResult().getScore();
    }

    private static double garbage(RunResult result) {
        return result.getSecondaryResults().get("gc.alloc.rate.norm").getScore();
    }

    private static String table(List<HostCost> costs) {
        return AsciiTable.getTable(costs,
                List.of(new Column().header("call").dataAlign(HorizontalAlign.LEFT).with(HostCost::call),
                        number("C ns", "%.2f", HostCost::c), number("bare ns", "%.2f", HostCost::bare),
                        number("API ns", "%.2f", HostCost::api), number("bare / C", "%.2f", HostCost::bareToC),
                        number("API / bare", "%.2f", HostCost::apiToBare),
                        number("garbage B", "%.1f", HostCost::apiBytes)));
    }

    private static ColumnData<HostCost> number(String header, String format,
            ToDoubleFunction<HostCost> value) {
        return new Column().header(header).dataAlign(HorizontalAlign.RIGHT)
                .with(cost -> String.format(format, value.applyAsDouble(cost)));
    }
}
