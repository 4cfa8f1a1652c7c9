package io.nccl4j.junit;

import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.EmulatedCluster;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.emulator.EmulatorMisuse;
import io.nccl4j.emulator.EmulatorUsage;
import io.nccl4j.emulator.MisuseMode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ConditionEvaluationResult;
import org.junit.jupiter.api.extension.ExecutionCondition;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;
import org.junit.platform.commons.support.AnnotationSupport;

/**
 * Runs tests on the emulator, each with a fresh state and a look at what it left behind. Used through {@link
 * EmulatedRanks}, or by itself for tests that need no number of ranks.
 */
public final class EmulatorExtension
        implements
            ExecutionCondition,
            BeforeEachCallback,
            AfterEachCallback,
            ParameterResolver {
    /** Name of the resource that tests on the emulator have in common, for JUnit's {@code @ResourceLock}. */
    public static final String LOCK = "io.nccl4j.emulator";

    private static final ExtensionContext.Namespace NAMESPACE = ExtensionContext.Namespace
            .create(EmulatorExtension.class);

    /** The state before the test. */
    private record Before(EmulatorUsage usage, long misuses) {
    }

    /** Made by JUnit. */
    public EmulatorExtension() {
    }

    /**
     * Skips tests where the emulator does not run. On Linux it must: a missing library is a failure, not a reason to
     * skip.
     */
    @Override
    public ConditionEvaluationResult evaluateExecutionCondition(ExtensionContext context) {
        String system = System.getProperty("os.name", "");
        return system.equals("Linux")
                ? ConditionEvaluationResult.enabled("the emulator runs here")
                : ConditionEvaluationResult.disabled("the emulator runs on Linux only, and this is " + system);
    }

    /** Switches the emulator on, as it is after loading but for misuse, which is recorded. */
    @Override
    public void beforeEach(ExtensionContext context) {
        Emulator.use();
        Emulator.reset();
        Emulator.options().misuse(MisuseMode.REPORT);
        context.getStore(NAMESPACE).put(Before.class, new Before(Emulator.usage(), lastMisuse()));
    }

    private static long lastMisuse() {
        List<EmulatorMisuse> misuses = Emulator.misuses();
        return misuses.isEmpty() ? 0 : misuses.getLast().sequence();
    }

    /** Fails the test if it left something alive or misused NCCL EP. */
    @Override
    public void afterEach(ExtensionContext context) {
        Before before = context.getStore(NAMESPACE).remove(Before.class, Before.class);
        if (before == null) {
            // The preparation has failed.
            return;
        }
        List<String> complaints = complaints(settings(context), before, context.getExecutionException().isPresent());
        Emulator.reset();
        recoverDevices();
        if (!complaints.isEmpty()) {
            AssertionError failure = new AssertionError(String.join("; ", complaints));
            context.getExecutionException().ifPresent(failure::addSuppressed);
            throw failure;
        }
    }

    /** A device that was lost in this test works again in the next. */
    private static void recoverDevices() {
        for (int ordinal = 0; ordinal < CudaDevice.count(); ordinal++) {
            CudaDevice device = CudaDevice.of(ordinal);
            if (device.failure() != null || !Emulator.errorText(device).isEmpty()) {
                device.reset();
            }
        }
    }

    private static List<String> complaints(Settings settings, Before before, boolean failed) {
        List<String> complaints = new ArrayList<>();
        List<EmulatorMisuse> misuses = Emulator.misuses(before.misuses + 1);
        if (!misuses.isEmpty() && !settings.allowMisuse) {
            complaints.add("NCCL EP was misused: "
                    + misuses.stream().map(EmulatorMisuse::toString).collect(Collectors.joining(", ")));
        }
        List<String> leaks = Emulator.usage().leakedSince(before.usage);
        // A test that fails is excused from cleaning up.
        if (!leaks.isEmpty() && !settings.allowLeaks && !failed) {
            complaints.add("the test left alive: " + String.join(", ", leaks));
        }
        return complaints;
    }

    @Override
    public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
        return parameter.getParameter().getType() == EmulatedCluster.class;
    }

    @Override
    public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
        Settings settings = settings(context);
        EmulatedCluster cluster = EmulatedCluster.of(settings.ranks).limit(settings.limit);
        if (settings.hosts > 1) {
            cluster = cluster.onHosts(settings.hosts);
        }
        return settings.allowLeaks ? cluster.allowLeaks() : cluster;
    }

    /** The values of the annotation. */
    private record Settings(int ranks, int hosts, Duration limit, boolean allowMisuse, boolean allowLeaks) {
    }

    @EmulatedRanks
    private static final class Defaults {
    }

    private static Settings settings(ExtensionContext context) {
        EmulatedRanks ranks = AnnotationSupport.findAnnotation(context.getElement(), EmulatedRanks.class)
                .or(() -> context.getTestClass()
                        .flatMap(type -> AnnotationSupport.findAnnotation(type, EmulatedRanks.class)))
                .orElseGet(() -> Defaults.class.getAnnotation(EmulatedRanks.class));
        return new Settings(ranks.value(), ranks.hosts(), Duration.ofSeconds(ranks.limitSeconds()), ranks.allowMisuse(),
                ranks.allowLeaks());
    }
}
