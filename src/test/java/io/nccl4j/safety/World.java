package io.nccl4j.safety;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.oracle.EpCase;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.function.UnaryOperator;

/** A rank with a communicator, a stream and a group of a shape; closes what it was given in the reverse order. */
final class World implements AutoCloseable {
    static final Duration LIMIT = Duration.ofSeconds(20);

    final EmulatedRank rank;
    final LayerShape shape;
    final EpCase model;
    final Communicator communicator;
    final CudaStream stream;
    final EpGroup group;
    private final Deque<AutoCloseable> owned = new ArrayDeque<>();

    World(EmulatedRank rank, LayerShape shape, EpCase model) {
        this(rank, shape, model, config -> config);
    }

    World(EmulatedRank rank, LayerShape shape, EpCase model, UnaryOperator<EpGroupConfig.Builder> more) {
        this.rank = rank;
        this.shape = shape;
        this.model = model;
        this.communicator = own(
                Communicator.init(rank.bootstrap(), rank.device(), CommunicatorOptions.builder().limit(LIMIT).build()));
        this.stream = own(CudaStream.create(rank.device()));
        this.group = own(EpGroup.create(communicator, more.apply(shape.config(model)).build()));
    }

    <T extends AutoCloseable> T own(T resource) {
        owned.push(resource);
        return resource;
    }

    /** A layer with a handle of its own. */
    Layer layer() {
        return own(new Layer(own(group.createHandle()), shape, model));
    }

    void await() {
        stream.await(LIMIT);
    }

    /** Closes everything; the first failure is thrown when the rest is closed. */
    @Override
    public void close() throws Exception {
        Exception first = null;
        while (!owned.isEmpty()) {
            try {
                owned.pop().close();
            } catch (Exception e) {
                if (first == null) {
                    first = e;
                } else {
                    first.addSuppressed(e);
                }
            }
        }
        if (first != null) {
            throw first;
        }
    }
}
