package io.nccl4j.cuda;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeLibraries;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.cudart.CudaRuntime;
import io.nccl4j.internal.BoundedCall;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.DeviceThread;
import io.nccl4j.internal.EmulatorReason;
import io.nccl4j.internal.StateChanges;
import io.nccl4j.internal.TimeLimit;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A CUDA device, known by its ordinal. One object per device and process.
 *
 * <p>CUDA keeps a current device per thread. Calls here that need one switch to theirs and back; only {@link #makeCurrent()}
 * leaves it changed. Thread-safe.
 */
public final class CudaDevice {
    private static final Logger LOG = LoggerFactory.getLogger(CudaDevice.class);
    private static final Map<Integer, CudaDevice> DEVICES = new ConcurrentHashMap<>();

    private final int ordinal;
    private final Set<StreamActivity> streams = ConcurrentHashMap.newKeySet();
    private volatile @Nullable CudaException failure;
    private volatile int generation;

    private CudaDevice(int ordinal) {
        this.ordinal = ordinal;
    }

    /**
     * The device with this ordinal.
     *
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

    /** Number of devices, {@code cudaGetDeviceCount}. */
    public static int count() {
        NativeLibraries.load();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            int status = CudaRuntime.cudaGetDeviceCount(out);
            if (status == CudaRuntime.cudaErrorNoDevice()) {
                return 0;
            }
            if (status != 0) {
                throw CudaException.of("cudaGetDeviceCount", status, "this thread");
            }
            return out.get(JAVA_INT, 0);
        }
    }

    /** The calling thread's current device, {@code cudaGetDevice}. */
    public static CudaDevice current() {
        NativeLibraries.load();
        return of(currentOrdinal());
    }

    private static int currentOrdinal() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            int status = CudaRuntime.cudaGetDevice(out);
            if (status != 0) {
                throw CudaException.of("cudaGetDevice", status, "this thread");
            }
            return out.get(JAVA_INT, 0);
        }
    }

    /** The number by which CUDA knows it in this process. */
    public int ordinal() {
        return ordinal;
    }

    /**
     * Makes this the calling thread's current device and leaves it so, {@code cudaSetDevice}. EP groups of other devices that belong to
     * the thread refuse calls until their device is current again.
     */
    public void makeCurrent() {
        check(CudaRuntime.cudaSetDevice(ordinal), "cudaSetDevice");
        DeviceThread.changed(this);
    }

    /** Runs {@code body} with this device current; afterwards the thread has the device that it had. */
    public <T extends @Nullable Object> T call(Supplier<T> body) {
        int before = currentOrdinal();
        if (before == ordinal) {
            return body.get();
        }
        makeCurrent();
        try {
            return body.get();
        } finally {
            if (CudaRuntime.cudaSetDevice(before) == 0) {
                DeviceThread.changed(of(before));
            }
        }
    }

    /** Like {@link #call} for a body without a result. */
    public void run(Runnable body) {
        this.<@Nullable Void>call(() -> {
            body.run();
            return null;
        });
    }

    /** Free and total memory, {@code cudaMemGetInfo}. */
    public MemoryInfo memoryInfo() {
        return call(() -> {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment free = arena.allocate(JAVA_LONG);
                MemorySegment total = arena.allocate(JAVA_LONG);
                check(CudaRuntime.cudaMemGetInfo(free, total), "cudaMemGetInfo");
                return new MemoryInfo(free.get(JAVA_LONG, 0), total.get(JAVA_LONG, 0));
            }
        });
    }

    /** An attribute, {@code cudaDeviceGetAttribute}. */
    public int attribute(DeviceAttribute attribute) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            check(CudaRuntime.cudaDeviceGetAttribute(out, attribute.code(), ordinal), "cudaDeviceGetAttribute");
            return out.get(JAVA_INT, 0);
        }
    }

    /** The PCI bus id, such as {@code 0000:17:00.0}: the device's name across processes, {@code cudaDeviceGetPCIBusId}. */
    public String pciBusId() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(32);
            check(CudaRuntime.cudaDeviceGetPCIBusId(out, 32, ordinal), "cudaDeviceGetPCIBusId");
            return out.getString(0);
        }
    }

    /** Whether this device can read and write the memory of {@code peer}, {@code cudaDeviceCanAccessPeer}. */
    public boolean canAccessPeer(CudaDevice peer) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(JAVA_INT);
            check(CudaRuntime.cudaDeviceCanAccessPeer(out, ordinal, peer.ordinal), "cudaDeviceCanAccessPeer");
            return out.get(JAVA_INT, 0) != 0;
        }
    }

    /** The range of stream priorities: least (a larger number) and greatest, {@code cudaDeviceGetStreamPriorityRange}. */
    public PriorityRange priorityRange() {
        return call(() -> {
            try (Arena arena = Arena.ofConfined()) {
                MemorySegment least = arena.allocate(JAVA_INT);
                MemorySegment greatest = arena.allocate(JAVA_INT);
                check(CudaRuntime.cudaDeviceGetStreamPriorityRange(least, greatest),
                        "cudaDeviceGetStreamPriorityRange");
                return new PriorityRange(least.get(JAVA_INT, 0), greatest.get(JAVA_INT, 0));
            }
        });
    }

    /**
     * Waits until all work on the device is done, {@code cudaDeviceSynchronize}. Not limited in time: see
     * {@link CudaStream#await(Duration)}.
     */
    public void synchronize() {
        CaptureScope.refuse("CudaDevice.synchronize", "synchronise after the capture");
        run(() -> check(CudaRuntime.cudaDeviceSynchronize(), "cudaDeviceSynchronize"));
    }

    /**
     * The error after which nothing on this device works any more (an illegal address, a device trap), or null. Every later call
     * fails fast with it as the cause; objects of the device are abandoned when closed, not destroyed.
     */
    public @Nullable CudaException failure() {
        return failure;
    }

    /**
     * Destroys everything on the device, {@code cudaDeviceReset}. Objects made before are dead: close them, nothing native happens
     * then. Refused by nobody, so no other library may use the device at this time.
     *
     * <p>The emulator clears a sticky error, too. A GPU that has failed cannot be used again by this process: the reset itself
     * succeeds, what follows is {@code cudaErrorDevicesUnavailable}.
     *
     * @throws WaitTimeoutException if work on the device, which may wait for other ranks, keeps it up for longer than closing waits
     */
    public void reset() {
        CaptureScope.refuse("CudaDevice.reset", "reset outside captures");
        generation++;
        StateChanges.add();
        int status = BoundedCall.run("cudaDeviceReset on " + this, Deadline.ofClose().remaining(), () -> {
            int chosen = CudaRuntime.cudaSetDevice(ordinal);
            return chosen != 0 ? chosen : CudaRuntime.cudaDeviceReset();
        });
        if (status != 0) {
            throw CudaException.of("cudaDeviceReset", status, this);
        }
        streams.clear();
        failure = null;
    }

    /** Counts resets: a native object of an earlier generation no longer exists. */
    public int generation() {
        return generation;
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
                    StateChanges.add();
                    LOG.error("{} is lost: {}", this, e.getMessage());
                }
            }
        }
        return e;
    }

    /**
     * Looks whether the device has a sticky error that nobody has seen yet, and remembers it: for callers to whom another
     * library reported a failure without a CUDA code.
     */
    public @Nullable CudaException observe() {
        if (failure == null) {
            streams.forEach(StreamActivity::observe);
        }
        return failure;
    }

    /** @throws CudaException if the device has failed before, with the first failure as its cause */
    public void checkUsable() {
        CudaException first = failure;
        if (first != null) {
            throw CudaException.after(first, this);
        }
    }

    /**
     * Waits until the work that was enqueued so far on the streams of the device that nccl4j knows is done; what is enqueued
     * meanwhile is not waited for.
     *
     * @return whether it is done; false after the limit or if the device has failed
     */
    public boolean awaitEnqueued(Duration limit) {
        long deadline = System.nanoTime() + TimeLimit.nanos(limit);
        return call(() -> {
            for (StreamActivity stream : streams) {
                if (failure != null || !stream.awaitEnqueued(deadline)) {
                    return false;
                }
            }
            return failure == null;
        });
    }

    /**
     * Events after the work that was enqueued so far on the streams that nccl4j knows, for the caller to close.
     *
     * @return one for each stream with work; null if that cannot be marked now, because a stream is being captured
     */
    @Nullable
    List<CudaEvent> markEnqueued() {
        return call(() -> {
            List<CudaEvent> marks = new ArrayList<>();
            boolean all = false;
            try {
                all = streams.stream().allMatch(stream -> stream.addMark(marks));
            } finally {
                if (!all) {
                    marks.forEach(CudaEvent::close);
                }
            }
            return all ? marks : null;
        });
    }

    @Override
    public String toString() {
        return "CUDA device " + ordinal;
    }
}
