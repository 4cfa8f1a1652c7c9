package io.nccl4j.nccl;

import io.nccl4j.NativeObject;
import io.nccl4j.WaitTimeoutException;
import io.nccl4j.bindings.nccl.Nccl;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.internal.BoundedCall;
import io.nccl4j.internal.CaptureScope;
import io.nccl4j.internal.Deadline;
import io.nccl4j.internal.LibraryLoader;
import io.nccl4j.internal.FlightRecording;
import io.nccl4j.internal.Out;
import io.nccl4j.internal.Ownership;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.function.Supplier;
import java.util.function.ToIntBiFunction;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One rank's end of a set of ranks that work together, {@code ncclComm_t}. Bound to one device.
 *
 * <p>Used by one thread at a time; only {@link #abort}, {@link #abandon}, {@link #asyncError} and {@link #isUsable} may
 * come from others. Calls that wait for other ranks on the host have a limit, and an interrupt does not end them. Once
 * the communicator has failed or was aborted, or a rank has gone that its bootstrap knows of, nothing that belongs to
 * it (windows, EP groups) is destroyed natively any more: closing abandons it.
 */
public final class Communicator extends NativeObject {
    /** Color of a rank that does not become part of a split. */
    public static final int NO_COLOR = Nccl.NCCL_SPLIT_NOCOLOR();

    private static final Logger LOG = LoggerFactory.getLogger(Communicator.class);
    private static final Duration DEFAULT_LIMIT = Duration.ofMinutes(5);

    private final CudaDevice device;
    private final boolean owned;
    private final Duration limit;
    /** Knows which ranks have gone; null if there was none. */
    private final @Nullable Bootstrap bootstrap;
    private final Collectives collectives = new Collectives(this);
    private final CommunicatorState state;
    private final HostExchange exchange;
    /** Some ranks do not run nccl4j. */
    private final boolean mixed;
    private final int rank;
    private final int size;

    private Communicator(String kind, long address, CudaDevice device, boolean owned, Duration limit, int rank,
            int size, @Nullable Bootstrap bootstrap, boolean mixed) {
        super(kind, address);
        this.device = device;
        this.owned = owned;
        this.limit = limit;
        this.bootstrap = bootstrap;
        this.state = new CommunicatorState(device);
        this.rank = rank;
        this.size = size;
        this.mixed = mixed;
        this.exchange = new HostExchange(device, size);
        Ownership.of(this).onClose(this::checkClose, this::release);
    }

    /**
     * Makes a communicator of all ranks of {@code bootstrap}, {@code ncclCommInitRankScalable} with one id. Collective.
     * Keeps the bootstrap, which tells it when a rank has gone.
     *
     * @param bootstrap how this rank meets the others
     * @param device the device
     * @return the communicator
     * @throws WaitTimeoutException if a rank is missing; the message names it
     * @throws IllegalStateException during a capture or in a group, or if a rank has gone
     * @throws NcclException if NCCL refuses, for example two ranks on one device
     */
    public static Communicator init(Bootstrap bootstrap, CudaDevice device) {
        return init(bootstrap, device, CommunicatorOptions.defaults());
    }

    /**
     * Like {@link #init(Bootstrap, CudaDevice)}, with options.
     *
     * @param bootstrap how this rank meets the others
     * @param device the device
     * @param options the options
     * @return the communicator
     * @throws IllegalArgumentException if options are not allowed; names all of them
     */
    public static Communicator init(Bootstrap bootstrap, CudaDevice device, CommunicatorOptions options) {
        options.check();
        checkCreate("Communicator.init", device);
        Duration limit = options.limitOr(bootstrap.limit());
        Deadline deadline = Deadline.after(limit);
        UniqueId id = bootstrap.exchangeUniqueId();
        return init(id, bootstrap.rank(), bootstrap.size(), device, options, limit, deadline, bootstrap);
    }

    /**
     * Makes a communicator of the {@code size} ranks that have {@code id}, {@code ncclCommInitRankScalable} with one
     * id. Collective.
     *
     * @param id the id that all ranks have
     * @param rank number of the rank, from 0
     * @param size number of ranks
     * @param device the device
     * @return the communicator
     * @throws WaitTimeoutException if it takes longer than the limit; what comes of the call after that is aborted
     * @throws IllegalStateException during a capture or in a group
     * @throws NcclException if NCCL refuses, for example two ranks on one device
     */
    public static Communicator init(UniqueId id, int rank, int size, CudaDevice device) {
        return init(id, rank, size, device, CommunicatorOptions.defaults());
    }

    /**
     * Like {@link #init(UniqueId, int, int, CudaDevice)}, with options.
     *
     * @param id the id that all ranks have
     * @param rank number of the rank, from 0
     * @param size number of ranks
     * @param device the device
     * @param options the options
     * @return the communicator
     * @throws IllegalArgumentException if options are not allowed; names all of them
     */
    public static Communicator init(UniqueId id, int rank, int size, CudaDevice device, CommunicatorOptions options) {
        if (size < 1 || rank < 0 || rank >= size) {
            throw new IllegalArgumentException("rank " + rank + " of " + size + ": must be 0 <= rank < size");
        }
        options.check();
        checkCreate("Communicator.init", device);
        Duration limit = options.limitOr(DEFAULT_LIMIT);
        return init(id, rank, size, device, options, limit, Deadline.after(limit), null);
    }

    private static Communicator init(UniqueId id, int rank, int size, CudaDevice device, CommunicatorOptions options,
            Duration limit, Deadline deadline, @Nullable Bootstrap bootstrap) {
        String call = "ncclCommInitRankScalable of rank " + rank + " of " + size;
        long address = BoundedCall.run(call, deadline, () -> device.call(() -> Out.ofAddress(out -> {
            try (Arena arena = Arena.ofConfined()) {
                // Takes the one id by address: linking a struct by value would cost a tenth of the start-up time.
                NcclException.check("ncclCommInitRankScalable",
                        Nccl.ncclCommInitRankScalable(out, size, rank, 1, id.encode(arena), options.encode(arena)),
                        "rank " + rank + " of " + size);
            }
        })), late -> device.run(() -> {
            LOG.warn("{} has returned after its limit: what it made is aborted", call);
            Nccl.ncclCommAbort(MemorySegment.ofAddress(late));
        }));
        Communicator made = new Communicator("Communicator", address, device, true, limit, rank, size, bootstrap,
                options.isMixed());
        LOG.debug("{} was created", made);
        FlightRecording.lifecycle("create", made);
        return made;
    }

    private static void checkCreate(String call, CudaDevice device) {
        // On other ranks than 0 nothing else need have loaded it: these get their id from another process.
        LibraryLoader.loadNccl();
        CaptureScope.refuse(call, "make communicators before the capture");
        NcclGroup.refuse(call);
        device.checkUsable();
    }

    /**
     * {@return a communicator of another owner, which must stay alive until this is closed; closing does not destroy
     * it} It must be blocking, which NCCL cannot be asked: one whose creation is still in progress is refused.
     *
     * @param address address of the native object, not 0
     * @param device the device that it was made for
     * @throws IllegalArgumentException if it was made for another device, or is non-blocking
     * @throws NcclException if it has failed
     */
    public static Communicator borrow(long address, CudaDevice device) {
        if (address == 0) {
            throw new IllegalArgumentException("the address of the communicator is NULL");
        }
        LibraryLoader.loadNccl();
        device.checkUsable();
        MemorySegment self = MemorySegment.ofAddress(address);
        if (CommunicatorState.asyncError(self, "0x" + Long.toHexString(address)) == Nccl.ncclInProgress()) {
            throw new IllegalArgumentException("the communicator at 0x" + Long.toHexString(address)
                    + " is non-blocking, and a call on it is in progress: NCCL EP needs one made with blocking = 1");
        }
        int ordinal = query(self, "ncclCommCuDevice", Nccl::ncclCommCuDevice);
        if (ordinal != device.ordinal()) {
            throw new IllegalArgumentException("the communicator at 0x" + Long.toHexString(address)
                    + " is of CUDA device " + ordinal + ", not of " + device);
        }
        int rank = query(self, "ncclCommUserRank", Nccl::ncclCommUserRank);
        int size = query(self, "ncclCommCount", Nccl::ncclCommCount);
        return new Communicator("Communicator(borrowed)", address, device, false, DEFAULT_LIMIT, rank, size, null,
                false);
    }

    private static int query(MemorySegment communicator, String function,
            ToIntBiFunction<MemorySegment, MemorySegment> call) {
        return Out.ofInt(out -> NcclException.check(function, call.applyAsInt(communicator, out),
                "0x" + Long.toHexString(communicator.address())));
    }

    /**
     * Makes communicators of parts of this one, {@code ncclCommSplit}. Collective. The parts live independently of
     * this.
     *
     * @param color ranks of one color come together; {@link #NO_COLOR} for none
     * @param key orders the ranks of a part; equal ones stay in their present order
     * @return the part, null for {@link #NO_COLOR}
     * @throws WaitTimeoutException if another rank does not come within {@link #limit()}
     * @throws IllegalStateException during a capture or in a group, or if this cannot be used any more
     * @throws NcclException if NCCL refuses
     */
    public @Nullable Communicator split(int color, int key) {
        if (color < 0 && color != NO_COLOR) {
            throw new IllegalArgumentException("color is " + color + ": must be at least 0, or NO_COLOR");
        }
        checkCreate("Communicator.split", device);
        MemorySegment self = segment();
        long address = callCollectively("ncclCommSplit", limit, () -> Out.ofAddress(
                out -> check("ncclCommSplit", Nccl.ncclCommSplit(self, color, key, out, MemorySegment.NULL))));
        if (address == 0) {
            return null;
        }
        MemorySegment part = MemorySegment.ofAddress(address);
        try {
            return new Communicator("Communicator", address, device, true, limit,
                    query(part, "ncclCommUserRank", Nccl::ncclCommUserRank),
                    query(part, "ncclCommCount", Nccl::ncclCommCount), null, mixed);
        } catch (RuntimeException | Error e) {
            // Not destroyed: the other ranks would have to come.
            device.call(() -> Nccl.ncclCommAbort(part));
            throw e;
        }
    }

    /** {@return the device it is bound to} */
    public CudaDevice device() {
        return device;
    }

    /** {@return this rank, from 0} */
    public int rank() {
        return rank;
    }

    /** {@return number of ranks} */
    public int size() {
        return size;
    }

    /**
     * {@return how its ranks reach each other, {@code ncclCommQueryProperties}} Not collective.
     *
     * @throws IllegalStateException if this cannot be used any more
     * @throws NcclException if NCCL does not answer
     */
    public CommunicatorProperties properties() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = CommunicatorProperties.allocate(arena);
            check("ncclCommQueryProperties", Nccl.ncclCommQueryProperties(segment(), out));
            return CommunicatorProperties.decode(out);
        }
    }

    /** {@return its collectives} */
    public Collectives collectives() {
        return collectives;
    }

    /** {@return whether closing destroys it; false for a borrowed one} */
    public boolean isOwned() {
        return owned;
    }

    /** {@return how long calls that need other ranks on the host wait for them} */
    public Duration limit() {
        return limit;
    }

    /**
     * {@return whether it works as far as is known: open, not aborted or abandoned, no failure seen on it or its
     * device} Does not ask NCCL; {@link #asyncError} does. From any thread.
     */
    public boolean isUsable() {
        return !isClosed() && state.lost() == null;
    }

    /**
     * Refuses what needs a working communicator.
     *
     * @throws IllegalStateException if it is closed, aborted or abandoned
     * @throws NcclException if it has failed, with the first failure as its cause
     */
    public void checkUsable() {
        address();
        state.check(this);
    }

    /**
     * {@return why nothing native may be done any more to it or to what belongs to it (a failure of it or its device,
     * an abort); null as long as it may} From any thread.
     */
    public @Nullable String lost() {
        return state.lost();
    }

    /**
     * {@return the same for a call that waits for all ranks: also a rank that has gone, for which it would wait in
     * vain} The communicator is abandoned then. Groups whose ranks can be masked go on without such a rank, and ask
     * {@link #lost()}.
     */
    public @Nullable String lostForCollectives() {
        lookForGoneRanks();
        return state.lost();
    }

    /** A rank that takes part in nothing any more would be waited for in vain: the communicator is abandoned. */
    private void lookForGoneRanks() {
        if (bootstrap != null && state.lost() == null) {
            bootstrap.goneRanks().forEach((gone, departure) -> {
                if (departure.lost()) {
                    LOG.warn("{} is abandoned: rank {} {}", label(), gone, departure.how());
                    state.abandon("rank " + gone + " " + departure.how());
                }
            });
        }
    }

    /**
     * Asks NCCL whether something went wrong in the background, {@code ncclCommGetAsyncError}. An error makes the
     * communicator unusable. From any thread.
     *
     * @return what NCCL answers
     * @throws IllegalStateException after close, or if it was aborted or abandoned
     * @throws NcclException if NCCL does not answer
     */
    public NcclResult asyncError() {
        address();
        if (state.isAbandoned()) {
            throw new IllegalStateException(this + " cannot be asked: " + state.lost());
        }
        int code = CommunicatorState.asyncError(MemorySegment.ofAddress(address()), this);
        NcclResult result = NcclResult.of(code);
        if (result == null || result.isError()) {
            state.fail(NcclException.of("ncclCommGetAsyncError", code, this), this);
        }
        return result == null ? NcclResult.INTERNAL_ERROR : result;
    }

    /**
     * Makes a native call on this communicator, of NCCL or a library above it, that waits for other ranks: on a thread
     * of its own with this device current. As long as it has not returned, an abort is refused, since it could end the
     * process. Once this thread has given up waiting, the communicator is lost: nothing else may be done natively
     * beside a call that is stuck. An interrupt does not end the wait.
     *
     * @param <T> type of the result
     * @param call what it is, for messages
     * @param longest how long this thread waits for it; the call itself goes on after that
     * @param body the call
     * @return what {@code body} returns
     * @throws WaitTimeoutException when that is over, or two seconds after a rank has gone
     * @throws IllegalStateException after close, or if a rank has gone: the call is not made then
     */
    public <T extends @Nullable Object> T callCollectively(String call, Duration longest, Supplier<T> body) {
        lookForGoneRanks();
        return call(call, longest, body, this::lostForCollectives);
    }

    /**
     * The same for a call that ranks make without those that have gone: of groups with masks.
     *
     * @param <T> type of the result
     * @param call the name of the C function
     * @param longest how long to wait at most
     * @param body the call
     * @return what {@code body} returns
     */
    public <T extends @Nullable Object> T callAmongSurvivors(String call, Duration longest, Supplier<T> body) {
        return call(call, longest, body, () -> null);
    }

    private <T extends @Nullable Object> T call(String call, Duration longest, Supplier<T> body,
            Supplier<@Nullable String> hopeless) {
        address();
        if (state.isAbandoned()) {
            throw new IllegalStateException(call + " on " + this + " was not made: " + state.lost());
        }
        return state.callCollectively(call, this, longest, body, hopeless);
    }

    /**
     * Gives every rank what all of them have said, by rank: a text of the host, {@code ncclAllGather}.
     * Collective. Waits for the other ranks as {@link #callCollectively} does; one rank alone calls nothing, nor do
     * {@linkplain CommunicatorOptions#mixed mixed} ones. For packages among themselves.
     *
     * @param call what it is for, for messages
     * @param longest how long to wait at most
     * @param mine without NUL; of more than 1023 bytes the others get the first ones
     * @return the text of each rank; {@code mine} alone if nothing is called
     * @throws WaitTimeoutException if another rank does not come before {@code longest} is over
     * @throws IllegalStateException after close, or if a rank has gone
     * @throws NcclException if NCCL refuses
     */
    public List<String> exchange(String call, Duration longest, String mine) {
        checkUsable();
        return size == 1 || mixed
                ? List.of(mine)
                : callCollectively("the exchange before " + call, longest,
                        () -> exchange.run(address(), mine, this::check));
    }

    /**
     * {@return the exception for what a call on this communicator answered} Looks whether the communicator or its
     * device have failed for good, and remembers that. To be called on the thread that made the call.
     *
     * @param function the C function, of NCCL or a library above it
     * @param status what it returned, not success
     */
    public NcclException failed(String function, int status) {
        NcclException e = NcclException.of(function, status, this);
        NcclResult result = e.result();
        boolean callersFault = result == NcclResult.INVALID_ARGUMENT || result == NcclResult.INVALID_USAGE;
        if (!callersFault && !isClosed() && !state.isAbandoned()) {
            try {
                device.observe();
                asyncError();
            } catch (NcclException unanswered) {
                e.addSuppressed(unanswered);
            }
        }
        return e;
    }

    /**
     * Throws {@link #failed} for a status other than success. To be called on the thread that made the call.
     *
     * @param function the C function, of NCCL or a library above it
     * @param status what it returned
     */
    public void check(String function, int status) {
        if (status != 0) {
            throw failed(function, status);
        }
    }

    /**
     * Ends it and everything that runs on it, without the other ranks, {@code ncclCommAbort}. Afterwards it and what
     * belongs to it can only be closed, which destroys nothing natively any more. From any thread.
     *
     * @throws IllegalStateException if a creation or destruction is under way on it (of an EP group, say), or it is
     *     borrowed: then its owner aborts it and {@link #abandon} says so here
     */
    public void abort() {
        if (!owned) {
            throw new IllegalStateException(this + " is borrowed: abort it where it was made, then call abandon");
        }
        MemorySegment self = MemorySegment.ofAddress(address());
        if (state.isAbandoned()) {
            return;
        }
        String deviceLost = state.deviceLost();
        state.abandonForAbort(this);
        if (deviceLost != null) {
            LOG.warn("{} is abandoned instead of aborted: {}", this, deviceLost);
            return;
        }
        int status = BoundedCall.run("ncclCommAbort on " + this, Deadline.ofClose(),
                () -> device.call(() -> Nccl.ncclCommAbort(self)));
        NcclException.check("ncclCommAbort", status, this);
        LOG.info("{} was aborted", this);
    }

    /**
     * Gives the native communicator up without touching it, with all that belongs to it: for one that its owner has
     * aborted, or when other ranks are known to be gone. It can only be closed then.
     *
     * @param reason for messages
     */
    public void abandon(String reason) {
        address();
        LOG.warn("{} is abandoned: {}", this, reason);
        state.abandon(reason);
    }

    /**
     * Allocates memory that can become a symmetric {@link Window}, {@code ncclMemAlloc}. Not collective.
     *
     * @param bytes at least 1
     * @return the memory
     * @throws IllegalArgumentException if the size is not positive
     * @throws IllegalStateException during a capture, or if this cannot be used any more
     * @throws NcclException if there is not enough memory
     */
    public DeviceMemory allocate(long bytes) {
        if (bytes <= 0) {
            throw new IllegalArgumentException("size is " + bytes + " bytes: must be at least 1");
        }
        CaptureScope.refuse("Communicator.allocate", "allocate before the capture, at maximum capacity");
        checkUsable();
        long address = device.call(
                () -> Out.ofAddress(out -> check("ncclMemAlloc(" + bytes + " bytes)", Nccl.ncclMemAlloc(out, bytes))));
        return DeviceMemory.adopt(address, bytes, device,
                memory -> NcclException.check("ncclMemFree", Nccl.ncclMemFree(MemorySegment.ofAddress(memory)), null));
    }

    /**
     * Registers memory as a symmetric window, {@code ncclCommWindowRegister} with {@code NCCL_WIN_COLL_SYMMETRIC}.
     * Collective.
     *
     * @param memory from {@link #allocate}, or other memory that NCCL can share, at a multiple of 4096
     * @return the window
     * @throws WaitTimeoutException if another rank does not register within {@link #limit()}
     * @throws IllegalArgumentException if the memory is of another device, or not at a multiple of 4096
     * @throws IllegalStateException during a capture or in a group, or if this cannot be used any more
     * @throws NcclException if NCCL refuses
     */
    public Window register(DeviceMemory memory) {
        return Window.register(this, memory);
    }

    /**
     * Runs {@code body} and makes its collectives, on any communicators, one operation, {@code ncclGroupStart} to
     * {@code ncclGroupEnd}. They are made when the body is done: if it throws, none of them is. Collectives alone are
     * collected; anything else in the body, such as calls of an EP group, is done at once and so comes before them.
     *
     * @param body the calls
     * @throws IllegalStateException on a virtual thread, since NCCL collects per thread of the operating system
     * @throws NcclException if NCCL refuses
     */
    public static void group(Runnable body) {
        NcclGroup.run(body);
    }

    MemorySegment segment() {
        checkUsable();
        return MemorySegment.ofAddress(address());
    }

    private void checkClose() {
        CaptureScope.refuse("close of " + label(), "close after the capture");
        NcclGroup.refuse("close of " + label());
    }

    private void release(long released, Deadline deadline) {
        exchange.close(state.lost() != null, deadline);
        if (!owned || state.isAbandoned()) {
            return;
        }
        MemorySegment self = MemorySegment.ofAddress(released);
        String reason = lostForCollectives();
        if (reason == null && !device.awaitLastUse(deadline.remaining())) {
            reason = "work that may use it is still pending after " + deadline;
        }
        if (reason == null) {
            reason = state.destroy(self, label(), deadline, this::lostForCollectives);
        }
        if (reason != null) {
            LOG.error("{} is left alone, not destroyed: {}", label(), reason);
        }
    }

    @Override
    public String toString() {
        String text = label() + ", rank " + rank + " of " + size + " on " + device;
        if (isClosed()) {
            return text + " (closed)";
        }
        return state.lost() == null ? text : text + " (lost)";
    }
}
