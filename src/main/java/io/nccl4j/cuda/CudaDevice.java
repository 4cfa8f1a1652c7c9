package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.BoundedCall;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.DeviceChanges;
import io.nccl4j.internal.DeviceChanges.DeviceThread;
import io.nccl4j.internal.EmulatorReason;
import io.nccl4j.internal.LibraryLoader;
import io.nccl4j.internal.Out;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.IntSupplier;
import java.util.function.Supplier;
import java.util.function.ToIntFunction;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A CUDA device, known by its ordinal. One object per device and process.
 *
 * <p>CUDA keeps a current device per thread. Calls here that need one switch to theirs and back; only {@link
 * #makeCurrent()} leaves it changed. Thread-safe.
 */
public final class CudaDevice {
    private static final Logger LOG = LoggerFactory.getLogger(CudaDevice.class);
    private static final Map<Integer, CudaDevice> DEVICES = new ConcurrentHashMap<>();

    private final int ordinal;
    private final DeviceChanges changes;
    private final Set<StreamActivity> streams = ConcurrentHashMap.newKeySet();
    /** Of pinned memory. */
    private final Set<Arena> hostMemory = new HashSet<>();
    /** Whether its work did not end within the limit of a close, and was not seen to end since. */
    private volatile boolean stalled;
    private volatile @Nullable CudaException failure;
    private volatile int generation;

    private CudaDevice(int ordinal) {
        this.ordinal = ordinal;
        this.changes = DeviceChanges.of(ordinal);
    }

    /**
     * {@return the device with this ordinal}
     *
     * @param ordinal number of the device, from 0
     * @throws IllegalArgumentException if there is none
     */
    public static CudaDevice of(int ordinal) {
        CudaDevice known = DEVICES.get(ordinal);
        if (known != null) {
            return known;
        }
        int count = count();
        if (ordinal < 0 || ordinal >= count) {
            throw new IllegalArgumentException("device " + ordinal + " does not exist: this machine has " + count
                    + (count == 0 ? "" : ", numbered from 0"));
        }
        return DEVICES.computeIfAbsent(ordinal, CudaDevice::new);
    }

    /**
     * {@return number of devices, {@code cudaGetDeviceCount}}
     *
     * @throws CudaException if the driver does not answer
     */
    public static int count() {
        LibraryLoader.loadCuda();
        return Out.ofInt(out -> {
            int status = CudaRuntime.cudaGetDeviceCount(out);
            if (status != 0 && status != CudaRuntime.cudaErrorNoDevice()) {
                throw CudaException.of("cudaGetDeviceCount", status, "this thread");
            }
        });
    }

    /**
     * {@return the calling thread's current device, {@code cudaGetDevice}} On a virtual thread: that of its carrier.
     *
     * @throws CudaException if the driver does not answer
     */
    public static CudaDevice current() {
        LibraryLoader.loadCuda();
        return of(currentOrdinal());
    }

    private static int currentOrdinal() {
        return Out.ofInt(out -> {
            int status = CudaRuntime.cudaGetDevice(out);
            if (status != 0) {
                throw CudaException.of("cudaGetDevice", status, "this thread");
            }
        });
    }

    /** {@return the number by which CUDA knows it in this process} */
    public int ordinal() {
        return ordinal;
    }

    /**
     * Makes this the calling thread's current device and leaves it so, {@code cudaSetDevice}. EP groups of other
     * devices that belong to the thread refuse calls until their device is current again.
     *
     * @throws IllegalStateException on a virtual thread, which shares the current device of its carrier with others
     * @throws CudaException if the device cannot be used
     */
    public void makeCurrent() {
        if (Thread.currentThread().isVirtual()) {
            throw new IllegalStateException(
                    "CudaDevice.makeCurrent on a virtual thread: the current device is its carrier's, "
                            + "which it shares with other threads; nccl4j's calls choose their device themselves");
        }
        setCurrent();
    }

    private void setCurrent() {
        check(CudaRuntime.cudaSetDevice(ordinal), "cudaSetDevice");
        DeviceThread.changed(this);
    }

    /**
     * Runs {@code body} with this device current; afterwards the thread has the device that it had. On a virtual thread
     * the body must not block before its last native call: the thread might go on with another carrier, which has
     * another device.
     *
     * @param <T> type of the result
     * @param body the call
     * @return what {@code body} returns
     */
    public <T extends @Nullable Object> T call(Supplier<T> body) {
        int before = currentOrdinal();
        if (before == ordinal) {
            return body.get();
        }
        setCurrent();
        try {
            return body.get();
        } finally {
            if (CudaRuntime.cudaSetDevice(before) == 0) {
                DeviceThread.changed(of(before));
            }
        }
    }

    /**
     * Like {@link #call} for a body without a result.
     *
     * @param body the calls
     */
    public void run(Runnable body) {
        this.<@Nullable Void>call(() -> {
            body.run();
            return null;
        });
    }

    /** Makes a native call with this device current, and throws for a status other than success. */
    void checkCurrent(String function, IntSupplier call) {
        run(() -> check(call.getAsInt(), function));
    }

    /** Makes a native call with this device current that writes an address, which is returned. */
    long create(String function, ToIntFunction<MemorySegment> call) {
        return Out.ofAddress(out -> checkCurrent(function, () -> call.applyAsInt(out)));
    }

    /**
     * {@return free and total memory, {@code cudaMemGetInfo}}
     *
     * @throws CudaException if the device has failed
     */
    public MemoryInfo memoryInfo() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment free = arena.allocate(JAVA_LONG);
            MemorySegment total = arena.allocate(JAVA_LONG);
            checkCurrent("cudaMemGetInfo", () -> CudaRuntime.cudaMemGetInfo(free, total));
            return new MemoryInfo(free.get(JAVA_LONG, 0), total.get(JAVA_LONG, 0));
        }
    }

    /**
     * {@return an attribute, {@code cudaDeviceGetAttribute}}
     *
     * @param attribute the attribute
     * @throws CudaException if the device does not know it
     */
    public int attribute(DeviceAttribute attribute) {
        return Out.ofInt(out -> check(CudaRuntime.cudaDeviceGetAttribute(out, attribute.code(), ordinal),
                "cudaDeviceGetAttribute"));
    }

    /**
     * {@return the range of stream priorities: least (a larger number) and greatest, {@code
     * cudaDeviceGetStreamPriorityRange}}
     */
    public PriorityRange priorityRange() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment least = arena.allocate(JAVA_INT);
            MemorySegment greatest = arena.allocate(JAVA_INT);
            checkCurrent("cudaDeviceGetStreamPriorityRange",
                    () -> CudaRuntime.cudaDeviceGetStreamPriorityRange(least, greatest));
            return new PriorityRange(least.get(JAVA_INT, 0), greatest.get(JAVA_INT, 0));
        }
    }

    /**
     * Waits until all work on the device is done, {@code cudaDeviceSynchronize}. Not limited in time: see
     * {@link CudaStream#await(Duration)}.
     *
     * @throws IllegalStateException during a capture
     * @throws CudaException if the work has failed
     */
    public void synchronize() {
        CaptureScope.refuse("CudaDevice.synchronize", "synchronise after the capture");
        checkCurrent("cudaDeviceSynchronize", CudaRuntime::cudaDeviceSynchronize);
    }

    /**
     * {@return the error after which nothing on this device works any more (an illegal address, a device trap), or
     * null} Every later call fails fast with it as the cause; objects of the device are abandoned when closed, not
     * destroyed.
     */
    public @Nullable CudaException failure() {
        return failure;
    }

    /**
     * Destroys everything on the device, {@code cudaDeviceReset}. Objects made before are dead: a use of them is
     * refused, and closing them does nothing native. Its pinned memory is closed. Nobody else is asked, so no other
     * library may use the device at this time.
     *
     * <p>The emulator clears a sticky error, too. A GPU that has failed cannot be used again by this process: the reset
     * itself succeeds, what follows is {@code cudaErrorDevicesUnavailable}.
     *
     * @throws IllegalStateException during a capture
     * @throws WaitTimeoutException if work on the device, which may wait for other ranks, keeps it up for longer than
     *     closing waits
     * @throws CudaException if the runtime refuses
     */
    public void reset() {
        CaptureScope.refuse("CudaDevice.reset", "reset outside captures");
        beginGeneration();
        int status = BoundedCall.run("cudaDeviceReset on " + this, Deadline.ofClose(), () -> {
            int chosen = CudaRuntime.cudaSetDevice(ordinal);
            return chosen != 0 ? chosen : CudaRuntime.cudaDeviceReset();
        });
        if (status != 0) {
            throw CudaException.of("cudaDeviceReset", status, this);
        }
        streams.clear();
        failure = null;
        stalled = false;
    }

    /** From here on nothing that was made before is used: neither its native objects nor its host memory. */
    private synchronized void beginGeneration() {
        try {
            hostMemory.forEach(Arena::close);
        } catch (IllegalStateException e) {
            hostMemory.removeIf(arena -> !arena.scope().isAlive());
            throw new IllegalStateException(
                    "CudaDevice.reset while another thread copies from or to pinned memory of " + this, e);
        }
        hostMemory.clear();
        generation++;
        changes.add();
    }

    /** Pinned memory of the device lives as long as {@code arena}, which a reset closes. */
    synchronized void addHostMemory(Arena arena) {
        hostMemory.add(arena);
    }

    /** Closes the arena, unless a reset has done so. */
    synchronized void closeHostMemory(Arena arena) {
        if (hostMemory.remove(arena)) {
            arena.close();
        }
    }

    /**
     * Counts resets: a native object of an earlier generation no longer exists.
     *
     * @return the number of resets
     */
    public int generation() {
        return generation;
    }

    /** Calls on the device that were checked are checked again. */
    void changed() {
        changes.add();
    }

    /** A stream waits for an event: the number of that wait. */
    long addWait() {
        return changes.addWait();
    }

    void add(StreamActivity stream) {
        streams.add(stream);
    }

    void remove(StreamActivity stream) {
        streams.remove(stream);
    }

    /**
     * Throws the exception for a status other than success, and remembers a sticky one.
     *
     * @param status what a CUDA runtime call on this device returned
     * @param function its name
     */
    void check(int status, String function) {
        if (status != 0) {
            throw failed(status, function);
        }
    }

    CudaException failed(int status, String function) {
        return failed(status, function, "");
    }

    /** @param advice follows the text that CUDA gives; empty if there is none */
    CudaException failed(int status, String function, String advice) {
        String reason = CudaException.isSticky(status) ? EmulatorReason.of(ordinal) : "";
        CudaException e = CudaException.of(function, status, this, reason.isEmpty() ? advice : advice + ": " + reason);
        // The runtime keeps it for cudaGetLastError as well; libraries that look there must not find it again.
        CudaRuntime.cudaGetLastError();
        if (e.isSticky()) {
            synchronized (this) {
                if (failure == null) {
                    failure = e;
                    changes.add();
                    LOG.error("{} is lost: {}", this, e.getMessage());
                }
            }
        }
        return e;
    }

    /**
     * Looks whether the device has a sticky error that nobody has seen yet, and remembers it: for callers to whom
     * another library reported a failure without a CUDA code.
     *
     * @return the error, or null
     */
    public @Nullable CudaException observe() {
        if (failure == null) {
            streams.forEach(StreamActivity::observe);
        }
        return failure;
    }

    /**
     * Refuses a device that has failed.
     *
     * @throws CudaException if the device has failed before, with the first failure as its cause
     */
    public void checkUsable() {
        CudaException first = failure;
        if (first != null) {
            throw CudaException.after(first, this);
        }
    }

    /**
     * Waits until the work that was enqueued so far on the streams of the device that nccl4j knows is done; what is
     * enqueued meanwhile is not waited for. From any thread. An interrupt does not end it; the flag is set again
     * afterwards.
     *
     * @param limit how long to wait at most
     * @return whether it is done; false after the limit or if the device has failed
     */
    public boolean awaitEnqueued(Duration limit) {
        Deadline deadline = Deadline.after(limit);
        for (StreamActivity stream : streams) {
            if (failure != null || !stream.awaitEnqueued(deadline)) {
                return false;
            }
        }
        return failure == null;
    }

    /**
     * Like {@link #awaitEnqueued} before something is destroyed. If the work does not end within the limit, that is
     * remembered: until it has ended, further calls ask once and do not wait. For what is built on the device.
     *
     * @param limit how long to wait at most
     * @return whether the device has ended its work
     */
    public boolean awaitLastUse(Duration limit) {
        boolean done = awaitEnqueued(stalled ? Duration.ZERO : limit);
        stalled = !done && failure == null;
        return done;
    }

    /** Whether work did not end within a limit when it was waited for last. */
    boolean isStalled() {
        return stalled;
    }

    @Override
    public String toString() {
        return "CUDA device " + ordinal;
    }
}
