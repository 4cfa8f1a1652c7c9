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

    /** A store of two ranks, made for rank 1. */
    Store store(Path folder) throws Exception {
        BootstrapOptions options = BootstrapOptions.defaults();
        return switch (this) {
            case IN_PROCESS -> InProcessStore.create(2).get(1);
            case FOLDER -> TcpPeer.call(FolderPlace.in(folder, options.checked()), 1, 2);
            case TCP ->
                TcpPeer.call(new HostPlace("localhost", Ranks.freePort(), false, options.checked().key()), 1, 2);
        };
    }
}
