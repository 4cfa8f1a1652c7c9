package io.nccl4j.ep;

import static java.lang.foreign.ValueLayout.ADDRESS;

import io.nccl4j.NativeLibraryException;
import io.nccl4j.NativeObject;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaException;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.DeviceChanges;
import io.nccl4j.internal.DeviceChanges.DeviceThread;
import io.nccl4j.internal.FlightRecording;
import io.nccl4j.internal.Ownership;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.DataType;
import io.nccl4j.nccl.NcclException;
import io.nccl4j.nccl.Window;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.List;
import java.util.function.ToIntBiFunction;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The ranks of a communicator as a place for Mixture-of-Experts layers, {@code ncclEpGroup_t}: owns buffers that all
 * handles share.
 *
 * <p>A group, its handles and their buffers belong to one platform thread, which has the group's device current; at
 * first the one that created the group, {@link #bindToCurrentThread()} changes that. Operations of one group are made
 * in the same order by all ranks, and run in that order: on one stream, or on streams ordered by events.
 *
 * <p>After a failure of the device or the communicator nothing native is destroyed any more: close then abandons.
 */
public final class EpGroup extends NativeObject {
    private static final Logger LOG = LoggerFactory.getLogger(EpGroup.class);
    private static final int NEVER = -1;

    private final Communicator communicator;
    private final CudaDevice device;
    private final GroupShape shape;
    private final boolean checked;
    private final DeviceChanges changes;
    /** Changes of the device when the group was last found usable, on the stream below. */
    private int usableAt = NEVER;
    private @Nullable CudaStream usableOn;
    private final @Nullable AllocatorHooks hooks;
    private final Arena arena;
    private final GroupState state;
    private final RdmaBuffer rdmaBuffer;
    private final GroupMask mask;
    private final HandleMemory<EpHandle> handleMemory;
    private final List<EpHandle> handles = new ArrayList<>();
    private final List<HandleShape> shapes = new ArrayList<>();
    private DeviceThread owner = DeviceThread.here();

    private EpGroup(NativeGroup made, Communicator communicator) {
        EpGroupConfig config = made.shape().config();
        super("EpGroup", made.address(), communicator);
        this.communicator = communicator;
        this.device = communicator.device();
        this.shape = made.shape();
        this.checked = config.isChecked();
        this.changes = DeviceChanges.of(device.ordinal());
        this.state = new GroupState(SharedStaging.of(shape));
        this.hooks = made.hooks();
        this.arena = made.arena();
        this.rdmaBuffer = new RdmaBuffer(shape);
        this.mask = new GroupMask(this, communicator, config.hasMask(), state, rdmaBuffer);
        this.handleMemory = new HandleMemory<>(this, communicator, config, hooks, handles, EpHandle::memory);
        Ownership.of(this).onClose(this::checkClose, this::release);
    }

    /**
     * Creates the group, {@code ncclEpCreateGroup}. Collective, with the communicator's limit. Makes the device current
     * for this thread and leaves it so. The ranks compare their configurations first, and the memory that their devices
     * have free, so that all are refused alike.
     *
     * @param communicator a blocking one
     * @param config the configuration, the same on all ranks
     * @return the group
     * @throws IllegalArgumentException if the configuration does not suit the communicator, the device or the library,
     *     or is not the same on all ranks
     * @throws IllegalStateException if the device of a rank has too little memory free for it, or several hosts are not
     *     set up for it
     * @throws NativeLibraryException if the library's compiler or its headers are not there; see {@link Preflight}
     * @throws WaitTimeoutException if another rank does not create the group in time
     * @throws NcclException if the library refuses
     */
    public static EpGroup create(Communicator communicator, EpGroupConfig config) {
        CaptureScope.refuse("EpGroup.create", "create groups before the capture");
        checkPlatformThread("EpGroup.create");
        communicator.checkUsable();
        EpGroup group = new EpGroup(NativeGroup.create(communicator, config), communicator);
        group.undoIfAllocatorFailed();
        FlightRecording.lifecycle("create", group);
        LOG.info("{} created", group);
        return group;
    }

    private void undoIfAllocatorFailed() {
        if (hooks != null && hooks.hasFailed()) {
            try (this) {
                hooks.rethrow();
            }
        }
    }

    private static void checkPlatformThread(String call) {
        Rule.PLATFORM_THREAD.refuseIf(Thread.currentThread().isVirtual(),
                "%s on a virtual thread: a group belongs to a platform thread, which has its device current", call);
    }

    /**
     * Makes the calling thread the owner of the group and its handles, and the group's device current for it. The
     * former owner must be done with them.
     *
     * @throws IllegalStateException on a virtual thread, or during a capture
     */
    public void bindToCurrentThread() {
        CaptureScope.refuse("EpGroup.bindToCurrentThread", "hand over before the capture");
        address();
        checkPlatformThread("bindToCurrentThread");
        device.makeCurrent();
        owner = DeviceThread.here();
    }

    /**
     * {@return a handle with the layout and top-k of the configuration, {@code ncclEpInitHandle}}
     *
     * @throws IllegalArgumentException if the configuration names no layout or no top-k
     */
    public EpHandle createHandle() {
        return createHandle(HandleConfig.defaults());
    }

    /**
     * The same with further settings.
     *
     * @param handleConfig further settings of the handle
     * @return the handle
     * @throws IllegalArgumentException if the configuration names no layout or no top-k, or the group cannot have such
     *     a handle
     */
    public EpHandle createHandle(HandleConfig handleConfig) {
        EpGroupConfig config = config();
        Layout layout = config.layout();
        Rule.LAYOUT.refuseIf(layout == null || config.topK() == 0,
                "the configuration names no layout or no topK: name them here");
        return createHandle(layout == null ? Layout.FLAT : layout, config.topK(), handleConfig);
    }

    /**
     * {@return a handle, {@code ncclEpInitHandle}} Not collective, unless the group's RDMA buffer {@link
     * EpGroupConfig#growingRdmaBuffer() grows}. The memory of its state is allocated here, unless the caller
     * gives some, and belongs to the handle.
     *
     * @param layout the layout of received rows
     * @param topK experts per token
     * @param handleConfig further settings of the handle
     * @throws IllegalArgumentException if the group cannot have such a handle
     * @throws IllegalStateException on a thread that the group does not belong to, during a capture, or if the RDMA
     *     buffer must grow and the device of a rank has too little memory free
     * @throws CudaException if there is not enough memory for its state
     */
    public EpHandle createHandle(Layout layout, int topK, HandleConfig handleConfig) {
        HandleShape shape = checkedShape("EpGroup.createHandle", layout, topK, handleConfig);
        DeviceMemory given = handleConfig.memory();
        if (given != null) {
            checkDevice(given, given.device());
            handleMemory.check(given, shape);
        }
        boolean grows = rdmaBuffer.mustGrow(shape);
        Rule.SEND_PENDING.refuseIf(grows && state.isPending(),
                "a handle for which the RDMA buffer must grow while a send half is pending (%s): complete it first",
                state);
        Deadline deadline = Deadline.after(communicator.limit());
        if (grows) {
            MemoryRequest.of(communicator, rdmaBuffer.growth(shape), 0, HandleMemory.describe(shape))
                    .checkOnAllRanks(communicator, "EpGroup.createHandle", deadline.remaining());
        }
        return given == null
                ? handleMemory.own(shape, made -> createHandle(shape, made, grows, deadline))
                : createHandle(shape, given, grows, deadline);
    }

    private EpHandle createHandle(HandleShape shape, @Nullable DeviceMemory memory, boolean grows, Deadline deadline) {
        EpTensor block = memory == null ? null : EpTensor.of(memory, DataType.UINT8, memory.byteSize());
        long address = grows
                ? communicator.callCollectively("ncclEpInitHandle", deadline.remaining(), () -> init(shape, block))
                : init(shape, block);
        if (grows) {
            rdmaBuffer.grew(shape);
        }
        return created(address, shape, memory);
    }

    private long init(HandleShape shape, @Nullable EpTensor block) {
        long address = createNative("ncclEpInitHandle", shape, (out, how) -> NcclEp.ncclEpInitHandle(out, segment(),
                shape.layout().code(), how, shape.topK(), EpStruct.pointer(block)));
        Reference.reachabilityFence(block);
        return address;
    }

    /** @param call takes the place of the handle, and its configuration */
    private long createNative(String function, HandleShape shape, ToIntBiFunction<MemorySegment, MemorySegment> call) {
        try (Arena confined = Arena.ofConfined()) {
            MemorySegment out = confined.allocate(ADDRESS);
            int status = call.applyAsInt(out, HandleConfig.encode(shape.alignment(), confined));
            MemorySegment handle = out.get(ADDRESS, 0);
            try {
                communicator.check(function, status);
                return handle.address();
            } catch (NcclException e) {
                // The library hands out a half-made handle with an error; destroying that is safe.
                if (handle.address() != 0 && communicator.lost() == null) {
                    NcclEp.ncclEpHandleDestroy(handle);
                }
                throw e;
            }
        }
    }

    /**
     * {@return a handle that has had its first update, {@code ncclEpCreateHandle}} Collective if the update is: in high
     * throughput.
     *
     * @param layout the layout of received rows
     * @param topkIdx {@code [T, topK]}; names the top-k
     * @param info as update takes it, or null
     * @param handleConfig further settings of the handle
     * @param stream the stream that the work is enqueued on
     * @throws IllegalArgumentException if the group cannot have such a handle, or the update is wrong
     * @throws IllegalStateException on a thread that the group does not belong to, or during a capture
     */
    public EpHandle createHandle(Layout layout, EpTensor topkIdx, @Nullable LayoutInfo info, HandleConfig handleConfig,
            CudaStream stream) {
        TensorShape routing = topkIdx.facts();
        Rule.ROUTING_SHAPE.refuseIf(routing.dimensions() != 2, "the routing is %s: must be [tokens, topK]", topkIdx);
        int topK = (int) Math.min(Integer.MAX_VALUE, routing.width());
        HandleShape shape = checkedShape("EpGroup.createHandle", layout, topK, handleConfig);
        Rule.HANDLE_MEMORY.refuseIf(handleConfig.memory() != null,
                "handle memory of the caller: create the handle without a routing, then update it");
        checkCall(stream);
        checkUpdate(shape, topkIdx, info);
        if (hooks != null || rdmaBuffer.mustGrow(shape)) {
            return createAndUpdate(shape, topkIdx, info, stream);
        }
        handleMemory.checkRoom(shape);
        MemorySegment layoutInfo = info == null ? MemorySegment.NULL : MemorySegment.ofAddress(info.address());
        long address = createNative("ncclEpCreateHandle", shape,
                (out, how) -> NcclEp.ncclEpCreateHandle(out, segment(), shape.layout().code(),
                        EpStruct.pointer(topkIdx), layoutInfo, how, MemorySegment.ofAddress(stream.address())));
        Reference.reachabilityFence(info);
        EpHandle handle = created(address, shape, null);
        handle.state().updated(topkIdx, stream);
        return handle;
    }

    /**
     * The two calls of the C function, so that the collective part of the first has its limit, and what an allocator
     * throws is thrown at once.
     */
    private EpHandle createAndUpdate(HandleShape shape, EpTensor topkIdx, @Nullable LayoutInfo info,
            CudaStream stream) {
        EpHandle handle = createHandle(shape.layout(), shape.topK(),
                HandleConfig.defaults().alignment(shape.alignment()));
        try {
            handle.update(topkIdx, info, stream);
            return handle;
        } catch (RuntimeException | Error e) {
            handle.close();
            throw e;
        }
    }

    private EpHandle created(long address, HandleShape shape, @Nullable DeviceMemory memory) {
        EpHandle handle = new EpHandle(this, address, shape, memory);
        if (hooks != null && hooks.hasFailed()) {
            // Closing throws what the allocator threw.
            handle.close();
        }
        FlightRecording.lifecycle("create", handle);
        LOG.debug("{} created", handle);
        return handle;
    }

    private HandleShape checkedShape(String call, Layout layout, int topK, HandleConfig handleConfig) {
        CaptureScope.refuse(call, "create handles before the capture");
        checkUse();
        return handleShape(layout, topK, handleConfig.alignment());
    }

    /** The shape of a handle, the same object for the same values, once it has passed the rules. */
    private HandleShape handleShape(Layout layout, int topK, int alignment) {
        HandleShape asked = new HandleShape(shape, layout, topK, alignment);
        for (HandleShape known : shapes) {
            if (known.equals(asked)) {
                return known;
            }
        }
        Violations violations = new Violations();
        HandleRules.checkShape(asked, violations);
        violations.refuse();
        shapes.add(asked);
        return asked;
    }

    /**
     * {@return bytes that a handle keeps its state in, {@code ncclEpHandleMemSize}} Differs between releases: never
     * store it.
     *
     * @param layout the layout of received rows
     * @param topK experts per token
     * @throws IllegalArgumentException if the group cannot have such a handle
     */
    public long handleMemoryBytes(Layout layout, int topK) {
        checkUse();
        return handleMemory.bytes(handleShape(layout, topK, 0));
    }

    /** {@return its configuration} */
    public EpGroupConfig config() {
        return shape.config();
    }

    /** {@return the communicator that it works on} */
    public Communicator communicator() {
        return communicator;
    }

    /** {@return the device that it works on} */
    public CudaDevice device() {
        return device;
    }

    /**
     * {@return the number of LSA teams that its ranks are in} As a rule there are as many as hosts: ranks of one team
     * address each other's memory, others are reached over the network.
     */
    public int lsaTeams() {
        return shape.teams();
    }

    /** {@return sizes of its buffers} */
    public EpSizing sizing() {
        return new EpSizing(shape);
    }

    /**
     * Enqueues a copy of the device's mask, {@code ncclEpMaskQuery}: an int per rank, 0 for masked. Capturable.
     *
     * @param target int32 {@code [ranks]}
     * @param stream the stream that the work is enqueued on
     */
    public void maskQuery(EpTensor target, CudaStream stream) {
        checkCall(stream);
        mask.checkExists("maskQuery");
        checkDevices(target);
        mask.query(target, stream);
    }

    /**
     * {@return the device's mask when the work enqueued on {@code stream} is done; waits for that}
     *
     * @param stream the stream that the work is enqueued on
     */
    public RankMask maskQuery(CudaStream stream) {
        checkCall(stream);
        return mask.query(stream);
    }

    /**
     * Enqueues a change of the device's mask, {@code ncclEpMaskUpdate}.
     *
     * @param value the mask, the same on all ranks
     * @param stream the stream that the work is enqueued on
     */
    public void maskUpdate(RankMask value, CudaStream stream) {
        checkCall(stream);
        mask.update(value, stream);
    }

    /**
     * Clears signals and activates all ranks again, {@code ncclEpMaskClean}. Collective among the ranks that are not
     * masked; waits for them, with the communicator's limit.
     *
     * @param stream the stream that the work is enqueued on
     */
    public void maskClean(CudaStream stream) {
        checkCall(stream);
        mask.clean(stream);
    }

    /** {@return whether a rank did not answer in time since {@link #errorClear()}, {@code ncclEpGetAsyncError}} */
    public boolean asyncError() {
        checkUse();
        return mask.asyncError();
    }

    /** Forgets that a rank did not answer, {@code ncclEpErrorClear}. The mask stays. */
    public void errorClear() {
        checkUse();
        mask.errorClear();
    }

    /** Refuses a use by another thread, or after something has failed. */
    void checkUse() {
        if (changes.count() != usableAt || !owner.isHereWith(device)) {
            checkUsable();
        }
    }

    private void checkUsable() {
        address();
        checkThread("use");
        communicator.checkUsable();
        rethrowAllocatorFailure();
    }

    /**
     * The first question of every call that enqueues: whether this thread may use the group and the stream now. Asked
     * again only when something has changed. Returns the changes of the device so far.
     */
    int checkCall(CudaStream stream) {
        int now = changes.count();
        if (now != usableAt || stream != usableOn || !owner.isHereWith(device)) {
            checkUse(stream);
            // Only the runtime knows what another library does to the device; streams join a capture as it goes.
            usableAt = checked || CaptureScope.isOpen() ? NEVER : now;
            usableOn = stream;
        }
        return now;
    }

    private void checkUse(CudaStream stream) {
        checkUsable();
        checkDevice(stream, stream.device());
        stream.checkThread("a call of an EP group");
        if (checked) {
            checkDeviceNow();
        }
        if (!stream.isCapturing()) {
            CaptureScope.refuse("an operation of " + label() + " on " + stream,
                    "the stream takes no part in the capture; use the stream that captures, or let this one wait for "
                            + "an event of it");
        }
    }

    private void checkDeviceNow() {
        Rule.THREAD.refuseIf(CudaDevice.current() != device,
                "%s has %s current: %s works on %s; something outside of nccl4j has changed it", Thread.currentThread(),
                CudaDevice.current(), label(), device);
        device.observe();
        device.checkUsable();
    }

    void checkDevice(Object what, CudaDevice other) {
        Rule.DEVICE.refuseIf(other != device, "%s is of %s: %s works on %s", what, other, this, device);
    }

    /** The memory of all of them is open, and of this device and communicator. */
    void checkTensors(EpStruct struct) {
        struct.checkOpen();
        checkDevices(struct.tensors());
    }

    private void checkDevices(EpTensor... tensors) {
        for (EpTensor tensor : tensors) {
            checkDevice(tensor, tensor.memory().device());
            Window window = tensor.window();
            Rule.DEVICE.refuseIf(window != null && window.communicator() != communicator,
                    "%s is in a window of another communicator than %s", tensor, this);
        }
    }

    /** The rules of an update. */
    void checkUpdate(HandleShape shape, EpTensor topkIdx, @Nullable LayoutInfo info) {
        checkDevices(topkIdx);
        RoutingRules.checkRouting(shape, topkIdx.facts());
        RoutingRules.checkInfo(shape, info == null ? null : info.facts());
        if (info != null) {
            checkTensors(info);
        }
    }

    void checkThread(String call) {
        Rule.THREAD.refuseIf(Thread.currentThread() != owner.thread(),
                "%s of %s by %s: it belongs to %s; call bindToCurrentThread() to hand it over", call, label(),
                Thread.currentThread(), owner.thread());
        Rule.THREAD.refuseIf(!owner.isHereWith(device),
                "%s of %s by a thread that has another device than %s current: make that current again", call, label(),
                device);
    }

    /** Before a close: a thread that has died gives what it owned to whoever closes it. */
    void checkOwner(String label) {
        CaptureScope.refuse("close of " + label, "close after the capture");
        if (!owner.thread().isAlive()) {
            checkPlatformThread("close of " + label);
            device.makeCurrent();
            owner = DeviceThread.here();
        }
        checkThread("close");
    }

    /** The exception for a status of the library; remembers what has failed for good. */
    NcclException failed(String function, int status) {
        return communicator.failed(function, status);
    }

    MemorySegment segment() {
        return MemorySegment.ofAddress(address());
    }

    GroupState state() {
        return state;
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

    private void checkClose() {
        checkOwner(label());
    }

    /** Destroys natively, {@code ncclEpGroupDestroy}: collective, so with a limit. */
    private void release(long released, Deadline deadline) {
        usableAt = NEVER;
        mask.close();
        String reason = communicator.lostForCollectives();
        if (reason == null && !device.awaitLastUse(deadline.remaining())) {
            reason = "work on its device is still pending after " + deadline + ", or has failed";
        }
        if (reason == null) {
            reason = destroy(MemorySegment.ofAddress(released), deadline);
        }
        FlightRecording.lifecycle("close", label());
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
                communicator.check("ncclEpGroupDestroy", NcclEp.ncclEpGroupDestroy(group));
                // Not before the library has made its last call of the allocator.
                arena.close();
                return group;
            });
            return null;
        } catch (WaitTimeoutException | NcclException | IllegalStateException e) {
            return e.getMessage();
        }
    }

    @Override
    public String toString() {
        return label() + (isClosed() ? " (closed)" : "(" + config() + ") of rank " + communicator.rank());
    }
}
