package io.nccl4j.bootstrap;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.List;

/** Where rank 0 listens and the other ranks find it. Used by threads of the store, which may wait here. */
sealed interface MeetingPlace permits HostPlace, FolderPlace {
    /** Rank 0: where to listen; port 0 if any will do. */
    InetSocketAddress listeningAddress();

    /**
     * Rank 0: lets the others know.
     *
     * @throws IllegalStateException if a rank 0 that lives has done so
     */
    void announce(int port) throws IOException;

    /** Rank 0: the others need not look any more. */
    void withdraw() throws IOException;

    /** Another rank: where rank 0 may listen. */
    List<InetSocketAddress> find() throws IOException;

    /** The key that ranks of the job have in common; for other ranks than 0, once it was found. */
    Secret key();

    /** Whether a stranger who listens there may be replaced by rank 0 later. */
    boolean mayChange();

    /** Such as {@code at localhost:29500}. */
    @Override
    String toString();
}
