package io.nccl4j.benchmarks.test;

import io.nccl4j.Backend;
import io.nccl4j.benchmarks.cli.Json;
import io.nccl4j.benchmarks.ranks.Rank;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.nccl.Bootstrap;
import org.jspecify.annotations.Nullable;

/**
 * One rank of the matrix as a process: runs all cells in step with the others and prints a line of JSON for each case.
 */
final class RankProcess {
    /** How its lines begin; everything else is chatter. */
    static final String MARK = "@case ";

    /**
     * The report of a rank on a case.
     *
     * @param cell index of the cell
     * @param index of the case in the cell
     * @param failure the first difference, or null
     */
    record Report(int cell, int index, @Nullable String failure) {
    }

    private RankProcess() {
    }

    static void run(Matrix matrix, Backend backend) {
        try (Bootstrap bootstrap = Bootstraps.fromEnvironment()) {
            CudaDevice device = CudaDevice.of(bootstrap.localRank());
            device.makeCurrent();
            Rank rank = new Rank(bootstrap.rank(), bootstrap.size(), device, bootstrap);
            for (int cell = 0; cell < matrix.cells().size(); cell++) {
                Cell next = matrix.cells().get(cell);
                if (next.untestable(backend) != null) {
                    continue;
                }
                next.prepare(backend);
                for (int i = 0; i < matrix.cases(); i++) {
                    String failure = CaseRun.run(matrix.draw(next, i), rank);
                    System.out.println(MARK + Json.of(new Report(cell, i, failure)));
                }
            }
        }
    }
}
