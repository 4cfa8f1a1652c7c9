package io.nccl4j.examples.moe.load;

import java.net.URI;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code load}: clients that ask a server and measure what comes when. */
@Command(name = "load", mixinStandardHelpOptions = true, description = "Asks a server for completions and measures.")
public final class LoadCommand implements Callable<Integer> {
    @Option(names = "--url", defaultValue = "http://127.0.0.1:8000",
            description = "The server (default: " + "${DEFAULT-VALUE}).")
    private URI url;

    @Option(names = "--clients", defaultValue = "8",
            description = "Requests under way at once (default: " + "${DEFAULT-VALUE}).")
    private int clients;

    @Option(names = "--requests", defaultValue = "64", description = "Requests in all (default: ${DEFAULT-VALUE}).")
    private int requests;

    @Option(names = "--rate", defaultValue = "0",
            description = "Requests per second that arrive at random " + "times; 0: each client asks again at once.")
    private double rate;

    @Option(names = "--prompt", defaultValue = "32", description = "Tokens of a prompt (default: ${DEFAULT-VALUE}).")
    private int prompt;

    @Option(names = "--output", defaultValue = "64",
            description = "Tokens of a completion (default: " + "${DEFAULT-VALUE}).")
    private int output;

    @Option(names = "--vocabulary", defaultValue = "512",
            description = "Token ids of prompts are drawn below " + "this (default: ${DEFAULT-VALUE}).")
    private int vocabulary;

    @Option(names = "--seed", defaultValue = "1", description = "Of prompts and arrival times.")
    private long seed;

    @Option(names = "--json", description = "Prints one JSON object, and nothing else on standard output.")
    private boolean json;

    @Override
    public Integer call() throws Exception {
        LoadPlan plan = new LoadPlan(url, Math.min(clients, requests), requests, rate, prompt, output, vocabulary,
                seed);
        LoadReport report = new LoadRun(plan).run();
        System.out.print(json ? report.json() : report.table());
        return report.failures() == 0 ? 0 : 1;
    }
}
