package io.nccl4j.bootstrap;

import io.nccl4j.nccl.Bootstrap;
import java.nio.file.Path;
import java.util.List;

/** The ways in which ranks meet, for tests of what all have in common. */
enum Meeting {
    IN_PROCESS, FOLDER, TCP;

    /** Makes the bootstrap of each rank. */
    Ranks.Maker maker(Path folder, int size, BootstrapOptions options) throws Exception {
        List<Bootstrap> inProcess = Bootstraps.inProcess(size, options);
        int port = Ranks.freePort();
        return switch (this) {
            case IN_PROCESS -> inProcess::get;
            case FOLDER -> rank -> Bootstraps.file(folder, rank, size, options);
            case TCP -> rank -> Bootstraps.tcp("localhost", port, rank, size, options);
        };
    }

    /** A store of two ranks, made for one of them. */
    Store store(Path folder, int port, int rank, BootstrapOptions options) {
        return switch (this) {
            case IN_PROCESS -> InProcessStore.create(2).get(rank);
            case FOLDER -> FolderStore.join(folder, rank, 2, options);
            case TCP -> TcpStore.open("localhost", port, rank, 2, options);
        };
    }
}
