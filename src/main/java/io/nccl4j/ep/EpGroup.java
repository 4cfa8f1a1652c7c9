package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.NativeLibraries;
import io.nccl4j.NativeObject;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.DeviceThread;
import io.nccl4j.internal.HotCalls;
import io.nccl4j.internal.LifecycleEvent;
import io.nccl4j.internal.Ownership;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.NcclException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The ranks of a communicator as a place for Mixture-of-Experts layers, {@code ncclEpGroup_t}: owns buffers that all handles
 * share.
 *
 * <p>A group, its handles and their buffers belong to one platform thread, which has the group's device current; at first the
 * one that created the group, {@link #bindToCurrentThread()} changes that. Operations of one group are made in the same order by
 * all ranks, and run in that order: on one stream, or on streams ordered by events.
 *
 * <p>After a failure of the device or the communicator nothing native is destroyed any more: close then abandons.
 */
public final class EpGroup extends NativeObject {
    private static final Logger LOG = LoggerFactory.getLogger(EpGroup.class);

    private final Communicator communicator;
    private final CudaDevice device;
    private final EpGroupConfig config;
    private final boolean checked;
    private final EpGeneration generation;
    private final DeviceLimits limits;
    private final EpSizing sizing;
    private final @Nullable AllocatorHooks hooks;
    private final Arena arena;
    private final SendState send = new SendState();
    private final Banks banks = new Banks();
    private final GroupMask mask = new GroupMask(this);
    private final RdmaBuffer rdmaBuffer;
    private final List<EpHandle> handles = new ArrayList<>();
    private final DeviceThread thread;
    /** Who can use it: the thread that it belongs to; null while that has another device current. */
    private @Nullable Thread owner;

    private EpGroup(long address, Communicator communicator, EpGroupConfig config, EpGeneration generation,
            DeviceLimits limits,
            @Nullable AllocatorHooks hooks, Arena arena) {
        super("EpGroup", address, communicator);
        this.communicator = communicator;
        this.device = communicator.device();
        this.config = config;
        this.checked = config.isChecked();
        this.generation = generation;
        this.limits = limits;
        this.sizing = EpSizing.of(config, communicator.size());
        this.hooks = hooks;
        this.arena = arena;
        this.rdmaBuffer = new RdmaBuffer(config, sizing);
        this.thread = new DeviceThread(device, user -> owner = user);
        thread.bind();
        Ownership.of(this).onClose(this::checkClose, this::release);
    }

    /**
     * Creates the group, {@code ncclEpCreateGroup}. Collective, with the communicator's limit. Makes the device current for this
     * thread and leaves it so.
     *
     * @param communicator a blocking one
     * @throws IllegalArgumentException if the configuration does not suit the communicator, the device or the library
     * @throws WaitTimeoutException if another rank does not create the group in time
     * @throws NcclException if the library refuses
     */
    public static EpGroup create(Communicator communicator, EpGroupConfig config) {
        CaptureScope.refuse("EpGroup.create", "create groups before the capture");
        checkPlatformThread("EpGroup.create");
        Rule.COMMUNICATOR.require(communicator.isBlocking(),
                "%s is non-blocking: NCCL EP takes \"in progress\" for a failure",
                communicator);
        communicator.checkUsable();
        NativeLibraries.load();
        CudaDevice device = communicator.device();
        EpGeneration generation = EpGeneration.ofLibrary();
        DeviceLimits limits = DeviceLimits.of(device);
        GroupRules.checkGroup(config, communicator.size(), limits, generation);
        EpSizing sizing = EpSizing.of(config, communicator.size());
        Layout layout = config.layout();
        if (layout != null && config.topK() > 0) {
            HandleRules.checkShape(
                    shape(config, generation, sizing, communicator.size(), limits, layout, config.topK(), 0));
        }
        HotCalls.link();
        Arena arena = Arena.ofShared();
        EpAllocator allocator = config.allocator();
        AllocatorHooks hooks = allocator == null ? null : new AllocatorHooks(allocator);
        MemorySegment struct = GroupStruct.encode(config, generation, sizing, hooks, arena);
        // The thread leaves here with the device that the library's own call would have left.
        device.makeCurrent();
        long address = createNatively(communicator, struct, arena);
        EpGroup group = new EpGroup(address, communicator, config, generation, limits, hooks, arena);
        group.undoIfAllocatorFailed();
        LifecycleEvent.emit("create", group.toString());
        LOG.info("{} created", group);
        return group;
    }

    private static long createNatively(Communicator communicator, MemorySegment config, Arena arena) {
        try {
            return communicator.callCollectively("ncclEpCreateGroup", communicator.limit(), () -> {
                MemorySegment out = arena.allocate(ADDRESS);
                int status = NcclEp.ncclEpCreateGroup(out, MemorySegment.ofAddress(communicator.address()), config);
                if (status != 0) {
                    throw communicator.failed("ncclEpCreateGroup", status);
                }
                return out.get(ADDRESS, 0).address();
            });
        } catch (NcclException e) {
            // When the limit is reached instead, the call goes on and needs what is in the arena.
            arena.close();
            throw e;
        }
    }

    private void undoIfAllocatorFailed() {
        if (hooks != null && hooks.hasFailed()) {
            try (this) {
                hooks.rethrow();
            }
        }
    }

    private static void checkPlatformThread(String call) {
        Rule.PLATFORM_THREAD.require(!Thread.currentThread().isVirtual(),
                "%s on a virtual thread: a group belongs to a platform thread, which has its device current", call);
    }

    private static HandleShape shape(EpGroupConfig config, EpGeneration generation, EpSizing sizing, int ranks,
            DeviceLimits limits,
            Layout layout, int topK, int alignment) {
        int padding = alignment > 0 ? alignment : Math.max(1, config.alignment());
        return new HandleShape(config, generation, ranks, layout, topK, sizing.receiveRows(),
                ExpertMajorMode.of(config.zeroCopy(), generation), padding, limits);
    }

    /**
     * Makes the calling thread the owner of the group and its handles, and the group's device current for it. The former owner
     * must be done with them.
     *
     * @throws IllegalStateException on a virtual thread, or during a capture
     */
    public void bindToCurrentThread() {
        CaptureScope.refuse("EpGroup.bindToCurrentThread", "hand over before the capture");
        address();
        checkPlatformThread("bindToCurrentThread");
        device.makeCurrent();
        thread.bind();
        Ownership.of(this).onClose(this::checkClose, this::release);
    }

    /** A handle with the layout and top-k of the configuration, {@code ncclEpInitHandle}. */
    public EpHandle createHandle() {
        return createHandle(HandleConfig.defaults());
    }

    /** A handle with the layout and top-k of the configuration, {@code ncclEpInitHandle}. */
    public EpHandle createHandle(HandleConfig handleConfig) {
        Layout layout = config.layout();
        Rule.LAYOUT.require(layout != null && config.topK() > 0,
                "the configuration names no layout or no topK: name them here");
        return createHandle(layout == null ? Layout.FLAT : layout, config.topK(), handleConfig);
    }

    /** A handle with memory from the group's allocator, {@code ncclEpInitHandle}. */
    public EpHandle createHandle(Layout layout, int topK) {
        return createHandle(layout, topK, HandleConfig.defaults());
    }

    /**
     * A handle, {@code ncclEpInitHandle}. Not collective, unless the group's RDMA buffer {@link
     * EpGroupConfig.Builder#growingRdmaBuffer() grows}.
     *
     * @throws IllegalArgumentException if the group cannot have such a handle
     */
    public EpHandle createHandle(Layout layout, int topK, HandleConfig handleConfig) {
        return NativeHandle.create(this, checkedShape("EpGroup.createHandle", layout, topK, handleConfig),
                handleConfig);
    }

    /**
     * A handle that has had its first update, {@code ncclEpCreateHandle}. Collective if the update is: in high throughput.
     *
     * @param topkIdx {@code [T, topK]}; names the top-k
     * @param info what update takes, or null
     */
    public EpHandle createHandle(Layout layout, EpTensor topkIdx, @Nullable LayoutInfo info, HandleConfig handleConfig,
            CudaStream stream) {
        Rule.ROUTING_SHAPE.require(topkIdx.dimensions() == 2, "the routing is %s: must be [tokens, topK]", topkIdx);
        int topK = (int) Math.min(Integer.MAX_VALUE, topkIdx.extent(topkIdx.dimensions() - 1));
        HandleShape shape = checkedShape("EpGroup.createHandle", layout, topK, handleConfig);
        Rule.HANDLE_MEMORY.require(handleConfig.memory() == null,
                "handle memory of the caller: create the handle without a routing, then update it");
        return NativeHandle.createUpdated(this, shape, topkIdx, info, stream);
    }

    private HandleShape checkedShape(String call, Layout layout, int topK, HandleConfig handleConfig) {
        CaptureScope.refuse(call, "create handles before the capture");
        enter();
        HandleShape shape = shape(config, generation, sizing, communicator.size(), limits, layout, topK,
                handleConfig.alignment());
        HandleRules.checkShape(shape);
        Rule.V1_ONE_HANDLE.require(shape.isV2() || !shape.isLowLatency() || handles.isEmpty(),
                "a second handle: NCCL EP 0.1.0 can have one per low-latency group, use another group");
        return shape;
    }

    /** Bytes that a handle keeps its state in, {@code ncclEpHandleMemSize}. Differs between releases: never store it. */
    public long handleMemoryBytes(Layout layout, int topK) {
        enter();
        HandleRules.checkShape(shape(config, generation, sizing, communicator.size(), limits, layout, topK, 0));
        try (Arena confined = Arena.ofConfined()) {
            MemorySegment out = confined.allocate(JAVA_LONG);
            int status = NcclEp.ncclEpHandleMemSize(segment(), layout.code(), HandleConfig.encode(0, confined), out,
                    topK);
            if (status != 0) {
                throw failed("ncclEpHandleMemSize", status);
            }
            return out.get(JAVA_LONG, 0);
        }
    }

    /** Its configuration. */
    public EpGroupConfig config() {
        return config;
    }

    /** The communicator that it works on. */
    public Communicator communicator() {
        return communicator;
    }

    /** The device that it works on. */
    public CudaDevice device() {
        return device;
    }

    /** The generation of the library that made it. */
    public EpGeneration generation() {
        return generation;
    }

    /** Sizes of its buffers. */
    public EpSizing sizing() {
        return sizing;
    }

    /**
     * Enqueues a copy of the device's mask, {@code ncclEpMaskQuery}: an int per rank, 0 for masked. Capturable.
     *
     * @param target int32 {@code [ranks]}
     */
    public void maskQuery(EpTensor target, CudaStream stream) {
        enter(stream);
        mask.query(target, stream);
    }

    /** The device's mask when the work enqueued on {@code stream} is done; waits for that. */
    public RankMask maskQuery(CudaStream stream) {
        enter(stream);
        return mask.query(stream);
    }

    /** Enqueues a change of the device's mask, {@code ncclEpMaskUpdate}. */
    public void maskUpdate(RankMask value, CudaStream stream) {
        enter(stream);
        mask.update(value, stream);
    }

    /**
     * Clears signals and activates all ranks again, {@code ncclEpMaskClean}. Collective among the ranks that are not masked;
     * waits for them, with the communicator's limit.
     */
    public void maskClean(CudaStream stream) {
        enter(stream);
        mask.clean(stream);
    }

    /** Whether a rank did not answer in time since {@link #errorClear()}, {@code ncclEpGetAsyncError}. */
    public boolean asyncError() {
        enter();
        mask.checkExists("asyncError");
        try (Arena confined = Arena.ofConfined()) {
            MemorySegment out = confined.allocate(JAVA_INT);
            int status = NcclEp.ncclEpGetAsyncError(segment(), out);
            if (status != 0) {
                throw failed("ncclEpGetAsyncError", status);
            }
            return out.get(JAVA_INT, 0) != 0;
        }
    }

    /** Forgets that a rank did not answer, {@code ncclEpErrorClear}. The mask stays. */
    public void errorClear() {
        enter();
        mask.checkExists("errorClear");
        int status = NcclEp.ncclEpErrorClear(segment());
        if (status != 0) {
            throw failed("ncclEpErrorClear", status);
        }
    }

    /** What every call looks at first: the right thread, and nothing that has failed before. */
    void enter() {
        address();
        if (Thread.currentThread() != owner) {
            checkThread("use");
        }
        if (communicator.lost() != null) {
            communicator.checkUsable();
        }
        if (hooks != null && hooks.hasFailed()) {
            hooks.rethrow();
        }
    }

    /** The same for a call that enqueues. */
    void enter(CudaStream stream) {
        enter();
        if (stream.device() != device) {
            checkDevice(stream, stream.device());
        }
        if (checked) {
            Rule.THREAD.require(CudaDevice.current() == device,
                    "%s has %s current: %s works on %s; something outside of nccl4j has changed it",
                    Thread.currentThread(),
                    CudaDevice.current(), label(), device);
            device.observe();
            device.checkUsable();
        }
        if (!stream.isCapturing() && CaptureScope.isOpen()) {
            CaptureScope.refuse("an operation of " + label() + " on " + stream,
                    "the stream takes no part in the capture; use the stream that captures, or let this one wait for an event of it");
        }
    }

    /** Whether the device is looked at before every call. */
    boolean isChecked() {
        return checked;
    }

    void checkDevice(Object what, CudaDevice other) {
        Rule.DEVICE.require(other == device, "%s is of %s: %s works on %s", what, other, this, device);
    }

    void checkDevices(NativeStruct struct) {
        for (EpTensor tensor : struct.tensors()) {
            checkDevice(tensor, tensor.memory().device());
            Rule.DEVICE.require(tensor.window() == null || tensor.window().communicator() == communicator,
                    "%s is in a window of another communicator than %s", tensor, this);
        }
    }

    void checkThread(String call) {
        Rule.THREAD.require(owner != null || !thread.isBoundHere(),
                "%s of %s by a thread that has another device than %s current: make that current again", call, label(),
                device);
        Rule.THREAD.require(Thread.currentThread() == owner,
                "%s of %s by %s: it belongs to %s; call bindToCurrentThread() to hand it over", call, label(),
                Thread.currentThread(),
                owner);
    }

    /** The exception for a status of the library; remembers what has failed for good. */
    NcclException failed(String function, int status) {
        return communicator.failed(function, status);
    }

    MemorySegment segment() {
        return MemorySegment.ofAddress(address());
    }

    /** The calls of all handles must be looked at again. */
    void forgetCalls() {
        for (int i = 0; i < handles.size(); i++) {
            handles.get(i).forgetCalls();
        }
    }

    /** Whether a graph has calls of one of its handles. */
    boolean hasGraphs() {
        for (int i = 0; i < handles.size(); i++) {
            if (handles.get(i).isCaptured()) {
                return true;
            }
        }
        return false;
    }

    SendState send() {
        return send;
    }

    /** Whose turn it is among the buffers of NCCL EP 0.1.0. */
    Banks banks() {
        return banks;
    }

    RdmaBuffer rdmaBuffer() {
        return rdmaBuffer;
    }

    /** The handles that live. */
    List<EpHandle> handles() {
        return handles;
    }

    void rethrowAllocatorFailure() {
        if (hooks != null) {
            hooks.rethrow();
        }
    }

    boolean hasAllocatorFailed() {
        return hooks != null && hooks.hasFailed();
    }

    private void checkClose() {
        CaptureScope.refuse("close of " + label(), "close after the capture");
        checkThread("close");
    }

    /** Destroys natively, {@code ncclEpGroupDestroy}: collective, so with a limit. */
    private void release(long released, Deadline deadline) {
        thread.unbind();
        mask.close();
        String reason = communicator.lost();
        if (reason == null && !device.awaitEnqueued(deadline.remaining())) {
            reason = "work on its device is still pending after " + deadline + ", or has failed";
        }
        if (reason == null) {
            reason = destroy(MemorySegment.ofAddress(released), deadline);
        }
        LifecycleEvent.emit("close", label());
        if (reason != null) {
            LOG.error("{} is abandoned, its native memory is not released: {}", label(), reason);
        } else {
            LOG.info("{} closed", label());
        }
        rethrowAllocatorFailure();
    }

    private @Nullable String destroy(MemorySegment group, Deadline deadline) {
        try {
            communicator.callCollectively("ncclEpGroupDestroy", deadline.remaining(), () -> {
                int status = NcclEp.ncclEpGroupDestroy(group);
                if (status != 0) {
                    throw communicator.failed("ncclEpGroupDestroy", status);
                }
                // Not before the library has made its last call of the allocator.
                arena.close();
                return group;
            });
            return null;
        } catch (WaitTimeoutException | NcclException e) {
            return e.getMessage();
        }
    }

    private String label() {
        return Ownership.of(this).label();
    }

    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : "(" + config + ") of rank " + communicator.rank());
    }
}
