package io.nccl4j.examples.moe;

import io.nccl4j.Backend;
import io.nccl4j.examples.moe.rank.RankProcess;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** A rank that is a process; started by {@code serve --processes}. */
@Command(name = "rank", hidden = true)
final class RankCommandLine implements Callable<Integer> {
    @Option(names = "--backend", required = true)
    private Backend backend;

    @Override
    public Integer call() throws Exception {
        BackendChoice.use(backend);
        RankProcess.run();
        return 0;
    }
}
