package io.nccl4j.emulator;

import static java.lang.foreign.ValueLayout.JAVA_LONG;

import io.nccl4j.bindings.emulator.EmulatorControl;
import io.nccl4j.bindings.emulator.nccl4jEmuKernel_t;
import io.nccl4j.bindings.emulator.nccl4jEmuLaunch_t;
import io.nccl4j.bindings.emulator.nccl4jEmuParameter_t;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The kernels that are Java functions. One native stub serves all of them; the context pointer is the kernel's number
 * in a table. An exception must not leave the stub (it would end the VM): it becomes the error of the device.
 */
final class KernelCalls {
    /** Of cudaError_t, whose binding the library does not export. */
    private static final int SUCCESS = 0;
    private static final int ILLEGAL_ADDRESS = 700;
    private static final int LAUNCH_FAILURE = 719;

    /** Entries stay: a graph may run a kernel whose name was registered anew. */
    private static final Map<Long, Registered> KERNELS = new ConcurrentHashMap<>();
    private static final AtomicLong NUMBERS = new AtomicLong();
    private static final MemorySegment STUB = nccl4jEmuKernel_t.allocate(KernelCalls::run, Arena.global());
    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.emulator");

    /** A kernel and where a compiler would put its parameters. */
    record Registered(String name, List<MemoryLayout> parameters, List<Long> offsets,
            KernelImplementation implementation) {
        static Registered of(String name, FunctionDescriptor signature, KernelImplementation implementation) {
            if (signature.returnLayout().isPresent()) {
                throw new IllegalArgumentException(
                        "kernel '" + name + "' returns a value: use FunctionDescriptor.ofVoid");
            }
            List<MemoryLayout> parameters = signature.argumentLayouts();
            Long[] offsets = new Long[parameters.size()];
            long end = 0;
            for (int i = 0; i < offsets.length; i++) {
                long alignment = parameters.get(i).byteAlignment();
                offsets[i] = (end + alignment - 1) / alignment * alignment;
                end = offsets[i] + parameters.get(i).byteSize();
            }
            return new Registered(name, parameters, List.of(offsets), implementation);
        }

        MemoryLayout parameter(int index) {
            if (index < 0 || index >= parameters.size()) {
                throw new IllegalArgumentException("parameter " + index + ": kernel '" + name + "' has "
                        + parameters.size() + ", numbered from 0");
            }
            return parameters.get(index);
        }

        long offset(int index) {
            return offsets.get(index);
        }

        long argumentBytes() {
            return parameters.isEmpty() ? 0 : offsets.getLast() + parameters.getLast().byteSize();
        }
    }

    private KernelCalls() {
    }

    static void register(Registered kernel) {
        long number = NUMBERS.incrementAndGet();
        KERNELS.put(number, kernel);
        try (Arena arena = Arena.ofConfined()) {
            int count = kernel.parameters().size();
            MemorySegment parameters = arena.allocate(JAVA_LONG, 2L * count);
            for (int i = 0; i < count; i++) {
                MemorySegment parameter = nccl4jEmuParameter_t.asSlice(parameters, i);
                nccl4jEmuParameter_t.offset(parameter, kernel.offset(i));
                nccl4jEmuParameter_t.size(parameter, kernel.parameter(i).byteSize());
            }
            ControlCalls.check(
                    EmulatorControl.nccl4jEmuRegisterKernel(arena.allocateFrom(kernel.name()), parameters, count, STUB,
                            MemorySegment.ofAddress(number)),
                    "kernel '" + kernel.name() + "' with " + kernel.parameters());
        }
    }

    private static int run(MemorySegment launched, MemorySegment context) {
        MemorySegment launch = launched.reinterpret(nccl4jEmuLaunch_t.sizeof());
        try (Arena arena = Arena.ofConfined()) {
            Registered kernel = KERNELS.get(context.address());
            kernel.implementation().run(new KernelLaunch(kernel, launch, arena));
            return SUCCESS;
        } catch (KernelLaunch.IllegalAddressException e) {
            return ILLEGAL_ADDRESS;
        } catch (Throwable e) {
            return failed(launch, e);
        }
    }

    private static int failed(MemorySegment launch, Throwable cause) {
        try (Arena arena = Arena.ofConfined()) {
            StackTraceElement[] trace = cause.getStackTrace();
            EmulatorControl.nccl4jEmuKernelFail(launch, LAUNCH_FAILURE,
                    arena.allocateFrom(cause + (trace.length == 0 ? "" : " at " + trace[0])));
            LOG.error("a kernel failed", cause);
        } catch (Throwable e) {
            // Out of memory, say. The device is lost all the same, with less of a reason.
            return LAUNCH_FAILURE;
        }
        return LAUNCH_FAILURE;
    }
}
