package io.nccl4j.examples.moe;

import io.nccl4j.Backend;
import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.examples.moe.step.StepMode;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Options of all commands that load a model. */
public final class ModelOptions {
    /** Most rows for which the server's own dense products are faster. */
    private static final int FEW_ROWS = 32;

    @Option(names = "--model", defaultValue = "tiny", description = "Folder of a Qwen3-MoE checkpoint, or "
            + "tiny, qwen3-30b-a3b, qwen3-235b-a22b with seeded weights " + "(default: ${DEFAULT-VALUE}).")
    private String model;

    @Option(names = "--layers", defaultValue = "0", description = "How many of the model's layers; 0 for all.")
    private int layers;

    @Option(names = "--seed", defaultValue = "1", description = "Seed of seeded weights.")
    private long seed;

    @Option(names = "--ranks", defaultValue = "1", description = "Ranks, each on a device (default: ${DEFAULT-VALUE}).")
    private int ranks;

    @Option(names = "--backend",
            description = "NATIVE or EMULATOR (default: the emulator for tiny, else the " + "real libraries).")
    private @Nullable Backend backend;

    @Option(names = "--mode", defaultValue = "GRAPH",
            description = "How steps are enqueued: " + "${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}).")
    private StepMode mode;

    @Option(names = "--dense", description = "Dense products: KERNELS, the server's own, or CUBLAS, faster "
            + "for many rows (default: by --max-rows, " + "and KERNELS on the emulator).")
    private @Nullable Dense dense;

    @Option(names = "--max-rows", defaultValue = "0",
            description = "Most rows of a step on a rank (default: " + "16 on the emulator, else 128).")
    private int maxRows;

    @Option(names = "--slots", defaultValue = "0", description = "Most sequences on a rank (default: --max-rows).")
    private int slots;

    @Option(names = "--context", defaultValue = "1024",
            description = "Most tokens of a prompt and its " + "completion (default: ${DEFAULT-VALUE}).")
    private int context;

    @Option(names = "--rank-timeout", defaultValue = "5000",
            description = "Milliseconds after which a silent " + "rank is left out (default: ${DEFAULT-VALUE}).")
    private int timeoutMillis;

    /** Who makes dense products. */
    enum Dense {
        CUBLAS, KERNELS
    }

    /** Checked as far as it can be without loading anything. */
    public RankOptions rankOptions() {
        return rankOptions(mode);
    }

    /** The same in another mode. */
    public RankOptions rankOptions(StepMode with) {
        int rows = maxRows != 0 ? maxRows : backend() == Backend.EMULATOR ? 16 : 128;
        int sequences = slots != 0 ? slots : rows;
        if (sequences > rows) {
            throw new ModelException(
                    "--slots " + sequences + ": a sequence needs a row in each step, at most --max-rows " + rows);
        }
        boolean cublas = dense == null ? backend() == Backend.NATIVE && rows > FEW_ROWS : dense == Dense.CUBLAS;
        if (backend() == Backend.EMULATOR && cublas) {
            throw new ModelException("--dense cublas: there is no cuBLAS on the emulator, take kernels");
        }
        return new RankOptions(model, layers, seed, ranks, rows, sequences, context, with, cublas, timeoutMillis);
    }

    public Backend backend() {
        return backend != null ? backend : model.equals("tiny") ? Backend.EMULATOR : Backend.NATIVE;
    }
}
