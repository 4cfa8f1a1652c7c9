package io.nccl4j.testing;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.oracle.EpCase;
import io.nccl4j.oracle.EpShape;
import io.nccl4j.oracle.NumberFormat;
import io.nccl4j.oracle.RoutingKind;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.function.IntConsumer;
import java.util.function.UnaryOperator;

/** A rank with what its layers need: a communicator, a stream and a group. Collective to make and to close. */
public final class MoeRank implements AutoCloseable {
    /** Within which everything on the emulator ends. */
    public static final Duration LIMIT = Duration.ofSeconds(20);

    private final Bootstrap bootstrap;
    private final CudaDevice device;
    private final Communicator communicator;
    private final CudaStream stream;
    private final EpGroup group;
    private final BufferConfig rows;
    private final Deque<AutoCloseable> owned = new ArrayDeque<>();

    /**
     * Makes them.
     *
     * @param device current on this thread
     * @param rows of its layers
     */
    public MoeRank(Bootstrap bootstrap, CudaDevice device, EpGroupConfig config, BufferConfig rows) {
        this(bootstrap, device, CommunicatorOptions.defaults(), config, rows);
    }

    private MoeRank(Bootstrap bootstrap, CudaDevice device, CommunicatorOptions options, EpGroupConfig config,
            BufferConfig rows) {
        this.bootstrap = bootstrap;
        this.device = device;
        this.rows = rows;
        communicator = own(Communicator.init(bootstrap, device, options));
        stream = own(CudaStream.create(device));
        group = own(EpGroup.create(communicator, config));
    }

    /** An emulated rank with a group for cases of a shape. */
    public static MoeRank of(EmulatedRank rank, LayerKind kind, EpCase model) {
        return of(rank, kind, model, config -> config);
    }

    /** The same; {@code more} changes the configuration of the group. */
    public static MoeRank of(EmulatedRank rank, LayerKind kind, EpCase model, UnaryOperator<EpGroupConfig> more) {
        return new MoeRank(rank.bootstrap(), rank.device(), CommunicatorOptions.defaults().limit(LIMIT),
                more.apply(kind.config(model)), BufferConfig.of(model.hidden(), LayerKind.type(model.format())));
    }

    /** The work of a rank on a layer. */
    @FunctionalInterface
    public interface Body {
        /** Runs it on the rank's thread. */
        void run(MoeRank rank, MoeLayer layer) throws Exception;
    }

    /** Runs a body on each rank of a cluster, with a group for cases of a shape and a layer of it. */
    public static void run(EmulatedCluster cluster, LayerKind kind, EpCase model, Body body) {
        run(cluster, kind, model, config -> config, body);
    }

    /** The same; {@code more} changes the configuration of the group. */
    public static void run(EmulatedCluster cluster, LayerKind kind, EpCase model, UnaryOperator<EpGroupConfig> more,
            Body body) {
        cluster.run(rank -> {
            try (MoeRank moe = of(rank, kind, model, more)) {
                body.run(moe, moe.layer());
            }
        });
    }

    /** Closes a resource with this rank, before everything that it was given earlier. */
    public <T extends AutoCloseable> T own(T resource) {
        owned.push(resource);
        return resource;
    }

    /** A layer with a handle and buffers of its own, closed with this rank. */
    public MoeLayer layer() {
        return layer(rows);
    }

    /** The same with other rows. */
    public MoeLayer layer(BufferConfig other) {
        return own(new MoeLayer(own(group.createHandle()), other, stream));
    }

    /** The rank's number. */
    public int rank() {
        return bootstrap.rank();
    }

    /** How it finds the other ranks. */
    public Bootstrap bootstrap() {
        return bootstrap;
    }

    /** Its device. */
    public CudaDevice device() {
        return device;
    }

    /** Its communicator. */
    public Communicator communicator() {
        return communicator;
    }

    /** A stream of its device. */
    public CudaStream stream() {
        return stream;
    }

    /** Its group. */
    public EpGroup group() {
        return group;
    }

    /** The rows of its layers. */
    public BufferConfig rows() {
        return rows;
    }

    /** The sizes of its group. */
    public EpShape shape() {
        return LayerKind.shape(group, group.config().topK());
    }

    /** A batch of all ranks, any number of tokens each; the same on all of them. */
    public EpCase draw(RoutingKind routing, long seed) {
        return EpCase.of(shape(), routing, NumberFormat.valueOf(rows.type().name()), rows.hidden(), seed);
    }

    /** A step of all ranks, compared in all rows, those that are not in use too. */
    public void checkStep(MoeLayer layer, EpCase batch) {
        checkStep(layer, batch, layer::enqueue);
    }

    /** The same by a step of the caller's, given how many tokens this rank has. */
    public void checkStep(MoeLayer layer, EpCase batch, IntConsumer step) {
        checkStep(layer.rows(), batch, step);
    }

    /** The same on any tensors. */
    public void checkStep(LayerRows rows, EpCase batch, IntConsumer step) {
        rows.spoil();
        rows.load(batch);
        await();
        // Peers write into windows.
        bootstrap.barrier();
        step.accept(rows.count(batch));
        await();
        rows.verifyAll(batch);
        bootstrap.barrier();
    }

    /** Waits for the stream. */
    public void await() {
        stream.await(LIMIT);
    }

    /** Closes everything; the first failure is thrown when the rest is closed. */
    @Override
    public void close() {
        RuntimeException first = null;
        while (!owned.isEmpty()) {
            try {
                owned.pop().close();
            } catch (Exception e) {
                if (first != null) {
                    first.addSuppressed(e);
                } else {
                    first = e instanceof RuntimeException failure ? failure : new IllegalStateException(e);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
