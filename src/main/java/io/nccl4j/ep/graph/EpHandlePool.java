package io.nccl4j.ep.graph;

import io.nccl4j.NativeObject;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.ep.BufferConfig;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.HandleConfig;
import io.nccl4j.ep.Layout;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Ownership;
import io.nccl4j.internal.Deadline;
import io.nccl4j.nccl.DataType;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/**
 * Several handles of one shape with their buffers, made once and used again: by one step after the other, or by lanes
 * (micro-batches) that overlap. Acquiring a slot allocates nothing and makes no native call.
 *
 * <p>The handles share their group, whose operations run in one order: they are made on one stream, or on streams
 * ordered by events, and at most one send half is pending among them. With a {@link Builder#groupPerSlot() group per
 * slot}, slots do not depend on each other.
 *
 * <p>Buffers and groups are made and closed collectively, slot by slot: all ranks build the pool with the same values.
 * All ranks acquire in the same order too, since a slot's windows and groups belong to the same slot of the other
 * ranks. A captured graph keeps the handle and buffers of a slot open.
 */
public final class EpHandlePool extends NativeObject {
    /**
     * A handle with its buffers, from acquiring to closing it. The pool has one object per slot and gives it out again
     * and again: close it once each time.
     */
    public static final class Slot implements AutoCloseable {
        private final EpHandlePool pool;
        private final int index;
        private final EpHandle handle;
        private final EpBuffers buffers;
        private boolean inUse;

        private Slot(EpHandlePool pool, int index, EpBuffers buffers) {
            this.pool = pool;
            this.index = index;
            this.handle = buffers.handle();
            this.buffers = buffers;
        }

        /** {@return its number in the pool, from 0} */
        public int index() {
            return index;
        }

        /**
         * {@return the handle of the slot}
         *
         * @throws IllegalStateException if the slot was given back
         */
        public EpHandle handle() {
            checkInUse();
            return handle;
        }

        /**
         * {@return the buffers of the slot}
         *
         * @throws IllegalStateException if the slot was given back
         */
        public EpBuffers buffers() {
            checkInUse();
            return buffers;
        }

        private void checkInUse() {
            if (!inUse) {
                throw new IllegalStateException(this + " is not acquired");
            }
        }

        /**
         * Gives the slot back, on any thread; does nothing if it is not in use. Work that uses it may be in
         * flight: whoever acquires it next enqueues on the same stream, or on one that waits for that.
         */
        @Override
        public void close() {
            synchronized (pool) {
                inUse = false;
                pool.notifyAll();
            }
        }

        @Override
        public String toString() {
            return "slot " + index + " of " + pool.label();
        }
    }

    private static final int NEXT = -1;

    private final EpGroup group;
    private final Slot[] slots;
    private final long waitNanos;
    private long steps;

    private EpHandlePool(List<EpBuffers> buffers, List<NativeObject> owned, EpGroup group, Duration wait) {
        super("EpHandlePool", group.address(), group);
        // The last slot first.
        Ownership.of(this).owns(owned.reversed());
        Ownership.of(this).onClose(this::checkClose);
        this.group = group;
        this.waitNanos = Deadline.nanos(wait);
        this.slots = new Slot[buffers.size()];
        for (int i = 0; i < slots.length; i++) {
            slots[i] = new Slot(this, i, buffers.get(i));
        }
    }

    /**
     * A pool on {@code group}, which must stay open longer than the pool.
     *
     * @param group the group
     * @return a builder
     */
    public static Builder builder(EpGroup group) {
        return new Builder(group);
    }

    /** Collects the values of a pool. */
    public static final class Builder {
        private final EpGroup group;
        private int slots = 2;
        private boolean groupPerSlot;
        private Duration wait = Duration.ZERO;
        private Function<EpGroup, EpHandle> maker = EpGroup::createHandle;

        private Builder(EpGroup group) {
            this.group = group;
        }

        /**
         * How many; 2 by default.
         *
         * @param count the number
         * @return this builder
         */
        public Builder slots(int count) {
            slots = count;
            return this;
        }

        /**
         * Makes a group of the same configuration for every slot but the first, so that slots can have a send half
         * pending at the same time. Each takes the memory of a group.
         *
         * @return this builder
         */
        public Builder groupPerSlot() {
            groupPerSlot = true;
            return this;
        }

        /**
         * How long acquiring waits if the slot is still in use; by default it throws at once.
         *
         * @param limit how long to wait at most
         * @return this builder
         */
        public Builder waitAtMost(Duration limit) {
            wait = limit;
            return this;
        }

        /**
         * Handles other than those that the group makes by default; not in memory of the caller, which several cannot
         * share.
         *
         * @param layout the layout of received rows
         * @param topK experts per token
         * @param config settings of the handles
         * @return this builder
         */
        public Builder handles(Layout layout, int topK, HandleConfig config) {
            if (config.memory() != null) {
                throw new IllegalArgumentException("handle memory of the caller: handles of a pool cannot share it");
            }
            maker = of -> of.createHandle(layout, topK, config);
            return this;
        }

        /**
         * {@link #build(BufferConfig)} for rows that travel as they are: BFLOAT16, FLOAT16 or FLOAT32.
         *
         * @param hidden elements of a row
         * @param type type of the elements
         * @return the pool
         */
        public EpHandlePool build(int hidden, DataType type) {
            return build(BufferConfig.of(hidden, type));
        }

        /**
         * Makes groups, handles and buffers. Collective.
         *
         * @param config of the buffers
         * @return the pool
         */
        public EpHandlePool build(BufferConfig config) {
            CaptureScope.refuse("EpHandlePool.build", "build the pool before the capture");
            if (slots < 1) {
                throw new IllegalArgumentException("slots is " + slots + ": must be at least 1");
            }
            List<NativeObject> owned = new ArrayList<>();
            List<EpBuffers> buffers = new ArrayList<>();
            try {
                for (int i = 0; i < slots; i++) {
                    buffers.add(slot(owned, i > 0 && groupPerSlot, config));
                }
                return new EpHandlePool(buffers, owned, group, wait);
            } catch (RuntimeException | Error e) {
                Ownership.closeAll(owned.reversed());
                throw e;
            }
        }

        private EpBuffers slot(List<NativeObject> owned, boolean ownGroup, BufferConfig config) {
            EpGroup of = group;
            if (ownGroup) {
                of = EpGroup.create(group.communicator(), group.config());
                owned.add(of);
            }
            EpHandle handle = maker.apply(of);
            owned.add(handle);
            EpBuffers made = handle.allocateBuffers(config);
            owned.add(made);
            return made;
        }
    }

    /** {@return number of slots} */
    public int size() {
        return slots.length;
    }

    /**
     * Acquires the slot of the next step: slots take turns whatever the order in which they come back, so that ranks
     * which acquire equally often hold the same one.
     *
     * @return the slot, to be given back
     * @throws IllegalStateException if it is in use and the pool does not wait
     * @throws WaitTimeoutException if it was not given back in time
     */
    public synchronized Slot acquire() {
        Slot slot = take(NEXT);
        steps++;
        return slot;
    }

    /**
     * Acquires the slot of a lane: always the same one. Does not change whose turn {@link #acquire()} has.
     *
     * @param lane from 0 to {@link #size()} - 1
     * @return the slot, to be given back
     * @throws IllegalStateException if it is in use and the pool does not wait
     * @throws WaitTimeoutException if it was not given back in time
     */
    public synchronized Slot acquire(int lane) {
        if (lane < 0 || lane >= slots.length) {
            throw new IllegalArgumentException(
                    "lane " + lane + ": " + label() + " has lanes 0 to " + (slots.length - 1));
        }
        return take(lane);
    }

    private Slot take(int lane) {
        long start = 0;
        Slot slot = slot(lane);
        while (slot.inUse) {
            start = await(slot, start);
            slot = slot(lane);
        }
        address();
        slot.inUse = true;
        return slot;
    }

    /** Whose turn it is may change while this thread waits. */
    private Slot slot(int lane) {
        return slots[lane == NEXT ? (int) (steps % slots.length) : lane];
    }

    /** Waits until something is given back; answers when the waiting began. */
    private long await(Slot slot, long since) {
        long now = System.nanoTime();
        long start = since == 0 ? now : since;
        if (waitNanos == 0) {
            throw new IllegalStateException(
                    slot + " is still in use: give it back, or make the pool larger than " + slots.length);
        }
        long rest = waitNanos - (now - start);
        if (rest <= 0) {
            throw new WaitTimeoutException(
                    slot + " was not given back within " + TimeUnit.NANOSECONDS.toMillis(waitNanos) + " ms");
        }
        try {
            TimeUnit.NANOSECONDS.timedWait(this, rest);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while waiting for " + slot, e);
        }
        return start;
    }

    private void checkClose() {
        CaptureScope.refuse("close of " + label(), "close after the capture");
        synchronized (this) {
            for (Slot slot : slots) {
                if (slot.inUse) {
                    throw new IllegalStateException(label() + " cannot be closed while " + slot + " is in use");
                }
            }
        }
    }

    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : "(" + slots.length + " slots of " + group + ")");
    }
}
