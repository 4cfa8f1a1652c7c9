package io.nccl4j.bootstrap;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.nccl.Bootstrap;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.file.Path;
import java.util.List;

/** Makes the {@link Bootstrap}s that nccl4j comes with. */
public final class Bootstraps {
    private Bootstraps() {
    }

    /**
     * {@return one for each rank, to be used by as many threads of this process; their local rank is their rank}
     *
     * @param size number of ranks
     */
    public static List<Bootstrap> inProcess(int size) {
        return inProcess(size, BootstrapOptions.defaults());
    }

    /**
     * Like {@link #inProcess(int)}, with options, of which the limit alone counts.
     *
     * @param size number of ranks
     * @param options the options
     * @return one for each rank
     * @throws IllegalArgumentException if options make no sense; names all of them
     */
    public static List<Bootstrap> inProcess(int size, BootstrapOptions options) {
        BootstrapOptions.Values values = options.checked();
        return InProcessStore.create(size).stream().<Bootstrap>map(store -> new StoreBootstrap(store, values, true))
                .toList();
    }

    /**
     * The one that the launcher of this process has prepared, which is told by its environment variables:
     *
     * <ul>
     * <li>torchrun, and everything that sets the same: {@code RANK}, {@code WORLD_SIZE}, {@code LOCAL_RANK}, {@code
     * MASTER_ADDR}, {@code MASTER_PORT};
     * <li>Open MPI: {@code OMPI_COMM_WORLD_RANK}, {@code _SIZE}, {@code _LOCAL_RANK};
     * <li>Kubernetes indexed jobs: {@code JOB_COMPLETION_INDEX}, and {@code WORLD_SIZE}, which is the job's
     * completions;
     * <li>SLURM: {@code SLURM_PROCID}, {@code SLURM_NTASKS}, {@code SLURM_LOCALID}.
     * </ul>
     *
     * <p>{@code NCCL4J_BOOTSTRAP_ADDRESS=host:port} names the place where rank 0 listens if the launcher does not, or
     * not the right one. Several machines need {@code NCCL4J_BOOTSTRAP_SECRET}, the same text for all ranks, or {@code
     * NCCL4J_BOOTSTRAP_SECRET_FILE}, a file with it.
     *
     * @return the bootstrap of this rank
     * @throws IllegalStateException if no launcher is recognised or its variables make no sense; the message names them
     * @throws WaitTimeoutException if a rank is missing; the message names it
     */
    public static Bootstrap fromEnvironment() {
        return fromEnvironment(BootstrapOptions.defaults());
    }

    /**
     * Like {@link #fromEnvironment()}, with options.
     *
     * @param options the options
     * @return the bootstrap of this rank
     * @throws IllegalArgumentException if options make no sense; names all of them
     */
    public static Bootstrap fromEnvironment(BootstrapOptions options) {
        return RankEnvironment.parse(System.getenv(), Bootstraps::fullHostName).connect(options);
    }

    private static String fullHostName() {
        try {
            return InetAddress.getLocalHost().getCanonicalHostName();
        } catch (UnknownHostException e) {
            return "";
        }
    }

    /**
     * Meets the other ranks where rank 0 listens, and returns when all are there.
     *
     * @param host of rank 0, an address of it or a name; anything but the loopback needs a secret
     * @param port where rank 0 listens until all ranks are there
     * @param rank number of the rank, from 0
     * @param size number of ranks
     * @return the bootstrap of this rank
     * @throws WaitTimeoutException if a rank is missing; the message names it
     */
    public static Bootstrap tcp(String host, int port, int rank, int size) {
        return tcp(host, port, rank, size, BootstrapOptions.defaults());
    }

    /**
     * Like {@link #tcp(String, int, int, int)}, with options.
     *
     * @param host where rank 0 listens
     * @param port the port there, from 1 to 65535
     * @param rank number of the rank, from 0
     * @param size number of ranks
     * @param options the options
     * @return the bootstrap of this rank
     * @throws IllegalArgumentException if options make no sense; names all of them
     */
    public static Bootstrap tcp(String host, int port, int rank, int size, BootstrapOptions options) {
        BootstrapOptions.Values values = options.checked();
        return meet(new HostPlace(host, port, values.hasSecret(), values.key()), rank, size, values);
    }

    /**
     * Meets the other ranks by a folder that all of them see, and returns when all are there: rank 0 listens at a free
     * port, and writes into the folder where that is, with a key that keeps out who cannot read it. What a former job
     * has left there does no harm.
     *
     * @param folder is made if it does not exist, for this user only; a link is refused, and so is without a secret one
     *     that another user owns or can write to
     * @param rank number of the rank, from 0
     * @param size number of ranks
     * @return the bootstrap of this rank
     * @throws WaitTimeoutException if a rank is missing; the message names it
     */
    public static Bootstrap file(Path folder, int rank, int size) {
        return file(folder, rank, size, BootstrapOptions.defaults());
    }

    /**
     * Like {@link #file(Path, int, int)}, with options.
     *
     * @param folder a folder that all ranks see
     * @param rank number of the rank, from 0
     * @param size number of ranks
     * @param options the options
     * @return the bootstrap of this rank
     * @throws IllegalArgumentException if options make no sense; names all of them
     */
    public static Bootstrap file(Path folder, int rank, int size, BootstrapOptions options) {
        BootstrapOptions.Values values = options.checked();
        try {
            return meet(FolderPlace.in(folder, values), rank, size, values);
        } catch (IOException e) {
            throw new IllegalStateException("rank " + rank + " cannot meet others in " + folder + ": " + e.getMessage(),
                    e);
        }
    }

    private static Bootstrap meet(MeetingPlace place, int rank, int size, BootstrapOptions.Values options) {
        Store.checkRank(rank, size);
        Store store = size == 1
                ? InProcessStore.create(1).getFirst()
                : rank == 0 ? TcpRoot.listen(place, size) : TcpPeer.call(place, rank, size);
        return new StoreBootstrap(store, options, false);
    }
}
