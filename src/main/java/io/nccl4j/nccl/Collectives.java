package io.nccl4j.nccl;

import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import java.lang.foreign.MemorySegment;

/**
 * The collectives of a {@link Communicator}, enqueued on a stream of its device by the thread that the stream belongs
 * to. All ranks make them in the same order. They can be captured; the graph then keeps the communicator and the memory
 * from being closed. Counts are elements, offsets are bytes. Operands are checked before they reach NCCL.
 *
 * <p>Every method throws {@link IllegalArgumentException} for operands out of range or of another device, {@link
 * IllegalStateException} if something is closed, lost or belongs to another thread, and {@link NcclException} if NCCL
 * refuses.
 */
public final class Collectives {
    /** One buffer of a collective: where it starts, and how many elements of it are read or written. */
    private record Operand(DeviceMemory memory, long offset, long count) {
    }

    /** A collective with its buffers, communicator and stream as C takes them. */
    @FunctionalInterface
    private interface Call {
        int run(MemorySegment send, MemorySegment receive, MemorySegment communicator, MemorySegment stream);
    }

    private final Communicator communicator;

    Collectives(Communicator communicator) {
        this.communicator = communicator;
    }

    /**
     * Every rank gets the {@code count} elements that each rank sends, by rank, {@code ncclAllGather}. In place if the
     * send buffer is this rank's part of the receive buffer.
     *
     * @param send {@code [count]}
     * @param sendOffset where it starts in {@code send}, in bytes
     * @param receive {@code [size, count]}
     * @param receiveOffset where it starts in {@code receive}, in bytes
     * @param count number of elements
     * @param type type of the elements
     * @param stream the stream that the work is enqueued on
     */
    public void allGather(DeviceMemory send, long sendOffset, DeviceMemory receive, long receiveOffset, long count,
            DataType type, CudaStream stream) {
        enqueue("ncclAllGather", new Operand(send, sendOffset, count),
                new Operand(receive, receiveOffset, perRank(count)), type, stream,
                (from, to, self, queue) -> Nccl.ncclAllGather(from, to, count, type.code(), self, queue));
    }

    /**
     * {@link #allGather(DeviceMemory, long, DeviceMemory, long, long, DataType, CudaStream)} from the start of both
     * buffers.
     *
     * @param send this rank's elements
     * @param receive where the result goes
     * @param count number of elements
     * @param type type of the elements
     * @param stream the stream that the work is enqueued on
     */
    public void allGather(DeviceMemory send, DeviceMemory receive, long count, DataType type, CudaStream stream) {
        allGather(send, 0, receive, 0, count, type, stream);
    }

    /**
     * Every rank gets the reduction of the elements that all ranks send, {@code ncclAllReduce}. In place if both
     * buffers are the same.
     *
     * @param send {@code [count]}
     * @param sendOffset where it starts in {@code send}, in bytes
     * @param receive {@code [count]}
     * @param receiveOffset where it starts in {@code receive}, in bytes
     * @param count number of elements
     * @param type type of the elements
     * @param op the operation
     * @param stream the stream that the work is enqueued on
     */
    public void allReduce(DeviceMemory send, long sendOffset, DeviceMemory receive, long receiveOffset, long count,
            DataType type, ReduceOp op, CudaStream stream) {
        enqueue("ncclAllReduce", new Operand(send, sendOffset, count), new Operand(receive, receiveOffset, count), type,
                stream,
                (from, to, self, queue) -> Nccl.ncclAllReduce(from, to, count, type.code(), op.code(), self, queue));
    }

    /**
     * {@link #allReduce(DeviceMemory, long, DeviceMemory, long, long, DataType, ReduceOp, CudaStream)} from the start
     * of both buffers.
     *
     * @param send this rank's elements
     * @param receive where the result goes
     * @param count number of elements
     * @param type type of the elements
     * @param op the operation
     * @param stream the stream that the work is enqueued on
     */
    public void allReduce(DeviceMemory send, DeviceMemory receive, long count, DataType type, ReduceOp op,
            CudaStream stream) {
        allReduce(send, 0, receive, 0, count, type, op, stream);
    }

    /**
     * Every rank gets the elements that {@code root} sends, {@code ncclBroadcast}. The send buffer counts at the root
     * only; other ranks may pass their receive buffer.
     *
     * @param send {@code [count]}
     * @param sendOffset where it starts in {@code send}, in bytes
     * @param receive {@code [count]}
     * @param receiveOffset where it starts in {@code receive}, in bytes
     * @param count number of elements
     * @param type type of the elements
     * @param root the rank that has, or gets, the elements
     * @param stream the stream that the work is enqueued on
     */
    public void broadcast(DeviceMemory send, long sendOffset, DeviceMemory receive, long receiveOffset, long count,
            DataType type, int root, CudaStream stream) {
        checkRank("root", root);
        enqueue("ncclBroadcast", new Operand(send, sendOffset, communicator.rank() == root ? count : 0),
                new Operand(receive, receiveOffset, count), type, stream,
                (from, to, self, queue) -> Nccl.ncclBroadcast(from, to, count, type.code(), root, self, queue));
    }

    /**
     * {@link #broadcast(DeviceMemory, long, DeviceMemory, long, long, DataType, int, CudaStream)} in place, from the
     * buffer's start.
     *
     * @param buffer the elements, read on the root and written on the others
     * @param count number of elements
     * @param type type of the elements
     * @param root the rank that has, or gets, the elements
     * @param stream the stream that the work is enqueued on
     */
    public void broadcast(DeviceMemory buffer, long count, DataType type, int root, CudaStream stream) {
        broadcast(buffer, 0, buffer, 0, count, type, root, stream);
    }

    /**
     * {@code root} gets the reduction of the elements that all ranks send, {@code ncclReduce}. The receive buffer
     * counts at the root only; other ranks may pass their send buffer.
     *
     * @param send {@code [count]}
     * @param sendOffset where it starts in {@code send}, in bytes
     * @param receive {@code [count]}
     * @param receiveOffset where it starts in {@code receive}, in bytes
     * @param count number of elements
     * @param type type of the elements
     * @param op the operation
     * @param root the rank that has, or gets, the elements
     * @param stream the stream that the work is enqueued on
     */
    public void reduce(DeviceMemory send, long sendOffset, DeviceMemory receive, long receiveOffset, long count,
            DataType type, ReduceOp op, int root, CudaStream stream) {
        checkRank("root", root);
        enqueue("ncclReduce", new Operand(send, sendOffset, count),
                new Operand(receive, receiveOffset, communicator.rank() == root ? count : 0), type, stream,
                (from, to, self, queue) -> Nccl.ncclReduce(from, to, count, type.code(), op.code(), root, self, queue));
    }

    /**
     * {@link #reduce(DeviceMemory, long, DeviceMemory, long, long, DataType, ReduceOp, int, CudaStream)} from the start
     * of both buffers.
     *
     * @param send this rank's elements
     * @param receive where the result goes
     * @param count number of elements
     * @param type type of the elements
     * @param op the operation
     * @param root the rank that has, or gets, the elements
     * @param stream the stream that the work is enqueued on
     */
    public void reduce(DeviceMemory send, DeviceMemory receive, long count, DataType type, ReduceOp op, int root,
            CudaStream stream) {
        reduce(send, 0, receive, 0, count, type, op, root, stream);
    }

    /**
     * Every rank gets its part of the reduction of what all ranks send, {@code ncclReduceScatter}. In place if the
     * receive buffer is this rank's part of the send buffer.
     *
     * @param send {@code [size, count]}
     * @param sendOffset where it starts in {@code send}, in bytes
     * @param receive {@code [count]}
     * @param receiveOffset where it starts in {@code receive}, in bytes
     * @param count number of elements
     * @param type type of the elements
     * @param op the operation
     * @param stream the stream that the work is enqueued on
     */
    public void reduceScatter(DeviceMemory send, long sendOffset, DeviceMemory receive, long receiveOffset, long count,
            DataType type, ReduceOp op, CudaStream stream) {
        enqueue("ncclReduceScatter", new Operand(send, sendOffset, perRank(count)),
                new Operand(receive, receiveOffset, count), type, stream, (from, to, self, queue) -> Nccl
                        .ncclReduceScatter(from, to, count, type.code(), op.code(), self, queue));
    }

    /**
     * {@link #reduceScatter(DeviceMemory, long, DeviceMemory, long, long, DataType, ReduceOp, CudaStream)} from the
     * start of both buffers.
     *
     * @param send this rank's elements
     * @param receive where the result goes
     * @param count number of elements
     * @param type type of the elements
     * @param op the operation
     * @param stream the stream that the work is enqueued on
     */
    public void reduceScatter(DeviceMemory send, DeviceMemory receive, long count, DataType type, ReduceOp op,
            CudaStream stream) {
        reduceScatter(send, 0, receive, 0, count, type, op, stream);
    }

    /**
     * Every rank sends row r of its buffer to rank r and gets that rank's row for it, {@code ncclAlltoAll}. Not in
     * place.
     *
     * @param send {@code [size, count]}
     * @param sendOffset where it starts in {@code send}, in bytes
     * @param receive {@code [size, count]}
     * @param receiveOffset where it starts in {@code receive}, in bytes
     * @param count number of elements
     * @param type type of the elements
     * @param stream the stream that the work is enqueued on
     */
    public void allToAll(DeviceMemory send, long sendOffset, DeviceMemory receive, long receiveOffset, long count,
            DataType type, CudaStream stream) {
        long all = perRank(count);
        enqueue("ncclAlltoAll", new Operand(send, sendOffset, all), new Operand(receive, receiveOffset, all), type,
                stream, (from, to, self, queue) -> Nccl.ncclAlltoAll(from, to, count, type.code(), self, queue));
    }

    /**
     * {@link #allToAll(DeviceMemory, long, DeviceMemory, long, long, DataType, CudaStream)} from the start of both
     * buffers.
     *
     * @param send this rank's elements
     * @param receive where the result goes
     * @param count number of elements
     * @param type type of the elements
     * @param stream the stream that the work is enqueued on
     */
    public void allToAll(DeviceMemory send, DeviceMemory receive, long count, DataType type, CudaStream stream) {
        allToAll(send, 0, receive, 0, count, type, stream);
    }

    /**
     * Sends to rank {@code peer}, which receives at the same time, {@code ncclSend}. Several that depend on each other
     * must be in one {@link Communicator#group}.
     *
     * @param buffer {@code [count]}
     * @param offset where it starts, in bytes
     * @param count number of elements
     * @param type type of the elements
     * @param peer the other rank
     * @param stream the stream that the work is enqueued on
     */
    public void send(DeviceMemory buffer, long offset, long count, DataType type, int peer, CudaStream stream) {
        checkRank("peer", peer);
        Operand operand = new Operand(buffer, offset, count);
        enqueue("ncclSend", operand, operand, type, stream,
                (from, to, self, queue) -> Nccl.ncclSend(from, count, type.code(), peer, self, queue));
    }

    /**
     * Receives from rank {@code peer}, which sends at the same time, {@code ncclRecv}.
     *
     * @param buffer {@code [count]}
     * @param offset where it starts, in bytes
     * @param count number of elements
     * @param type type of the elements
     * @param peer the other rank
     * @param stream the stream that the work is enqueued on
     */
    public void receive(DeviceMemory buffer, long offset, long count, DataType type, int peer, CudaStream stream) {
        checkRank("peer", peer);
        Operand operand = new Operand(buffer, offset, count);
        enqueue("ncclRecv", operand, operand, type, stream,
                (from, to, self, queue) -> Nccl.ncclRecv(to, count, type.code(), peer, self, queue));
    }

    private void enqueue(String function, Operand send, Operand receive, DataType type, CudaStream stream, Call call) {
        NcclGroup.add(() -> verify(send, receive, type, stream),
                () -> call(function, send, receive, type, stream, call));
    }

    private void verify(Operand send, Operand receive, DataType type, CudaStream stream) {
        communicator.checkUsable();
        checkType(type);
        checkStream(stream);
        segment("send", send, type);
        segment("receive", receive, type);
    }

    private void call(String function, Operand send, Operand receive, DataType type, CudaStream stream, Call call) {
        MemorySegment from = segment("send", send, type);
        MemorySegment to = segment("receive", receive, type);
        MemorySegment self = MemorySegment.ofAddress(communicator.address());
        MemorySegment queue = MemorySegment.ofAddress(stream.address());
        communicator.device().run(() -> communicator.check(function, call.run(from, to, self, queue)));
        stream.retain(communicator);
        stream.retain(send.memory);
        stream.retain(receive.memory);
    }

    private void checkRank(String name, int rank) {
        if (rank < 0 || rank >= communicator.size()) {
            throw new IllegalArgumentException(
                    name + " is rank " + rank + ": " + communicator + " has ranks 0 to " + (communicator.size() - 1));
        }
    }

    /** Elements that all ranks have together. */
    private long perRank(long count) {
        if (count > Long.MAX_VALUE / communicator.size()) {
            throw new IllegalArgumentException(
                    count + " elements of each of " + communicator.size() + " ranks are too many");
        }
        return count * communicator.size();
    }

    private static void checkType(DataType type) {
        if (type == DataType.FLOAT4X2) {
            throw new IllegalArgumentException("NCCL's collectives do not know FLOAT4X2: move it as UINT8");
        }
    }

    private void checkStream(CudaStream stream) {
        stream.checkThread("a collective");
        if (stream.device() != communicator.device()) {
            throw new IllegalArgumentException(
                    stream + " is not a stream of " + communicator.device() + ", the device of " + communicator);
        }
    }

    private MemorySegment segment(String name, Operand operand, DataType type) {
        DeviceMemory memory = operand.memory;
        if (memory.device() != communicator.device()) {
            throw new IllegalArgumentException(name + " buffer " + memory + " is not memory of " + communicator.device()
                    + ", the device of " + communicator);
        }
        long bytes = type.bytes(operand.count);
        if (operand.offset < 0 || operand.offset > memory.byteSize() - bytes) {
            throw new IllegalArgumentException(
                    name + " buffer: " + operand.count + " elements of " + type + " from byte " + operand.offset
                            + " are outside of " + memory + ", which has " + memory.byteSize() + " bytes");
        }
        return MemorySegment.ofAddress(memory.address() + operand.offset);
    }
}
