package io.nccl4j.benchmarks.cli;

import io.nccl4j.Backend;
import io.nccl4j.oracle.EpShape;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The sizes of a layer; a mixin. */
public final class SizeOptions {
    private static final int EXPERTS_PER_RANK = 4;
    private static final int MOST_EXPERTS = 65_534;
    private static final int MOST = 1 << 16;

    @Mixin
    private final RanksOption ranks;

    @Option(names = "--tokens", paramLabel = "N",
            description = "Most tokens per rank and step (default: ${DEFAULT-VALUE}).")
    private int tokens;

    @Option(names = "--hidden", paramLabel = "N", description = "Elements of a token (default: ${DEFAULT-VALUE}).")
    private int hidden;

    @Option(names = "--experts", paramLabel = "N",
            description = "Experts over all ranks, 0 for 4 per rank (default: ${DEFAULT-VALUE}).")
    private int experts;

    @Option(names = "--topk", paramLabel = "N", description = "Experts per token (default: ${DEFAULT-VALUE}).")
    private int topK;

    /** The numbers are defaults. */
    public SizeOptions(int ranks, int tokens, int hidden, int experts, int topK) {
        this.ranks = new RanksOption(ranks);
        this.tokens = tokens;
        this.hidden = hidden;
        this.experts = experts;
        this.topK = topK;
    }

    /**
     * The sizes for so many ranks.
     *
     * @throws picocli.CommandLine.ParameterException if they make no sense
     */
    public EpShape check(Usage usage, int size) {
        ranks.check(usage);
        int all = experts == 0 ? EXPERTS_PER_RANK * size : experts;
        usage.requireIn("--tokens", tokens, MOST);
        usage.requireIn("--hidden", hidden, MOST);
        usage.requireIn("--experts", all, MOST_EXPERTS);
        usage.requireIn("--topk", topK, all);
        usage.require(all % size == 0, "--experts %d: must be a multiple of --ranks %d", all, size);
        return new EpShape(size, all, topK, tokens, size == ranks.count() ? ranks.hosts() : 1);
    }

    public int ranks() {
        return ranks.count();
    }

    /** Whether several ranks may be on one device. */
    public boolean shareDevices() {
        return ranks.shareDevices();
    }

    /** Puts the ranks on their hosts. */
    public void use(Backend backend, Usage usage) {
        ranks.use(backend, usage);
    }

    public int hidden() {
        return hidden;
    }
}
