package io.nccl4j.junit;

import static io.nccl4j.checks.Refusals.assertFailure;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.ProcessEnd;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.AnnotatedElement;
import java.lang.reflect.Method;
import java.lang.reflect.Parameter;
import java.lang.reflect.Proxy;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.parallel.ResourceLock;

/** Drives the extension as JUnit does, to see it fail tests. */
@ResourceLock(EmulatorExtension.LOCK)
class EmulatorExtensionTest {
    /** Tests whose annotations are looked at; nothing runs them. */
    @EmulatedRanks(value = 3, limitSeconds = 7)
    @SuppressWarnings("unused") // by reflection
    static final class Sample {
        void plain(EmulatedCluster cluster) {
            throw new UnsupportedOperationException();
        }

        @EmulatedRanks(5)
        void five(EmulatedCluster cluster) {
            throw new UnsupportedOperationException();
        }

        @EmulatedRanks(allowLeaks = true)
        void leaky(String other) {
            throw new UnsupportedOperationException();
        }

        @EmulatedRanks(allowMisuse = true)
        void careless() {
            throw new UnsupportedOperationException();
        }
    }

    private final EmulatorExtension extension = new EmulatorExtension();
    private final Map<Object, Object> values = new HashMap<>();
    private Optional<Throwable> thrown = Optional.empty();

    private static Method method(String name) {
        for (Method method : Sample.class.getDeclaredMethods()) {
            if (method.getName().equals(name)) {
                return method;
            }
        }
        throw new AssertionError(name);
    }

    private ExtensionContext context(AnnotatedElement element) {
        Object store = proxy(ExtensionContext.Store.class, (name, arguments) -> switch (name) {
            case "put" -> values.put(arguments[0], arguments[1]);
            case "remove" -> values.remove(arguments[0]);
            default -> throw new UnsupportedOperationException(name);
        });
        return proxy(ExtensionContext.class, (name, arguments) -> switch (name) {
            case "getStore" -> store;
            case "getElement" -> Optional.of(element);
            case "getTestClass" -> Optional.of(Sample.class);
            case "getExecutionException" -> thrown;
            default -> throw new UnsupportedOperationException(name);
        });
    }

    private interface Answer {
        Object to(String method, Object[] arguments);
    }

    private static <T> T proxy(Class<T> type, Answer answer) {
        return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[]{type},
                (self, method, arguments) -> answer.to(method.getName(), arguments)));
    }

    private static ParameterContext parameter(Method method) {
        Parameter parameter = method.getParameters()[0];
        return proxy(ParameterContext.class, (name, arguments) -> switch (name) {
            case "getParameter" -> parameter;
            default -> throw new UnsupportedOperationException(name);
        });
    }

    @Test
    void aCleanTestPasses() {
        ExtensionContext context = context(method("plain"));
        assertThat(extension.evaluateExecutionCondition(context).isDisabled()).isFalse();
        extension.beforeEach(context);
        assertThat(Emulator.isInUse()).isTrue();
        assertThat(Emulator.options().get("misuse")).isEqualTo("report");
        CudaStream.create(CudaDevice.of(0)).close();
        extension.afterEach(context);
    }

    @Test
    void aLeakFailsTheTest() {
        ExtensionContext context = context(method("plain"));
        extension.beforeEach(context);
        try (CudaStream stream = CudaStream.create(CudaDevice.of(0))) {
            assertThatThrownBy(() -> extension.afterEach(context)).isInstanceOf(AssertionError.class)
                    .hasMessage("the test left alive: 1 streams");
            assertThat(stream.isClosed()).isFalse();
        }
    }

    @Test
    void aLeakIsExcusedIfTheTestFailsOrSaysSo() {
        try (CudaStream before = CudaStream.create(CudaDevice.of(1))) {
            assertThat(before.isClosed()).isFalse();
            ExtensionContext allowed = context(method("leaky"));
            extension.beforeEach(allowed);
            CudaStream first = CudaStream.create(CudaDevice.of(0));
            assertThatCode(() -> extension.afterEach(allowed)).doesNotThrowAnyException();
            ExtensionContext context = context(method("plain"));
            extension.beforeEach(context);
            CudaStream second = CudaStream.create(CudaDevice.of(0));
            thrown = Optional.of(new AssertionError("the test's own"));
            assertThatCode(() -> extension.afterEach(context)).doesNotThrowAnyException();
            first.close();
            second.close();
        }
    }

    @Test
    void aMisuseFailsTheTestUnlessItSaysSo() {
        ExtensionContext context = context(method("plain"));
        extension.beforeEach(context);
        misuse();
        assertThatThrownBy(() -> extension.afterEach(context)).isInstanceOf(AssertionError.class)
                .hasMessageStartingWith("NCCL EP was misused: ncclEpHandleMemSize on rank -1");
        ExtensionContext allowed = context(method("careless"));
        extension.beforeEach(allowed);
        assertThatCode(() -> extension.afterEach(allowed)).as("misuse of an earlier test").doesNotThrowAnyException();
        extension.beforeEach(allowed);
        misuse();
        assertThat(Emulator.misuses().getLast()).satisfies(misuse -> {
            assertThat(misuse.function()).isEqualTo("ncclEpHandleMemSize");
            assertThat(misuse.end()).isEqualTo(ProcessEnd.ABORT);
            assertThat(misuse.text()).isNotEmpty();
        });
        assertThatCode(() -> extension.afterEach(allowed)).doesNotThrowAnyException();
    }

    /** An assertion of the real library. */
    private static void misuse() {
        MemorySegment none = MemorySegment.NULL;
        assertThat(NcclEp.ncclEpHandleMemSize(none, 1, none, none, 8)).isNotZero();
    }

    @Test
    void eachTestBeginsAfresh() {
        ExtensionContext context = context(method("plain"));
        extension.beforeEach(context);
        Emulator.options().poison(true).shuffle(7);
        Emulator.logCalls(10);
        Emulator.presetResult("cudaMalloc", 2);
        Emulator.breakWaits("test");
        extension.afterEach(context);
        extension.beforeEach(context);
        assertThat(Emulator.options().get("shuffle")).isEqualTo("0");
        assertThat(Emulator.calls()).isEmpty();
        io.nccl4j.cuda.DeviceMemory.allocate(CudaDevice.of(0), 16).close();
        extension.afterEach(context);
    }

    @Test
    void aDeviceThatWasLostWorksInTheNextTest() {
        ExtensionContext context = context(method("plain"));
        extension.beforeEach(context);
        CudaDevice device = CudaDevice.of(4);
        try (CudaStream stream = CudaStream.create(device)) {
            Emulator.inject(new io.nccl4j.emulator.Fault.FailLaunch(4, 1));
            assertFailure(io.nccl4j.cuda.CudaException.class, () -> {
                stream.launchHostFunction(() -> {
                });
                stream.await(java.time.Duration.ofSeconds(20));
            });
        }
        thrown = Optional.of(new AssertionError("the test's own"));
        extension.afterEach(context);
        assertThat(device.failure()).isNull();
        CudaStream.create(device).close();
    }

    @Test
    void theClusterHasTheAnnotatedSize() {
        Method plain = method("plain");
        assertThat(extension.supportsParameter(parameter(plain), context(plain))).isTrue();
        assertThat(((EmulatedCluster) extension.resolveParameter(parameter(plain), context(plain))).size())
                .isEqualTo(3);
        Method five = method("five");
        assertThat(((EmulatedCluster) extension.resolveParameter(parameter(five), context(five))).size()).isEqualTo(5);
        Method other = method("leaky");
        assertThat(extension.supportsParameter(parameter(other), context(other))).isFalse();
    }
}
