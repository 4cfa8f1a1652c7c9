package io.nccl4j.architecture;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.jdi.Bootstrap;
import com.sun.jdi.IncompatibleThreadStateException;
import com.sun.jdi.Location;
import com.sun.jdi.ReferenceType;
import com.sun.jdi.StackFrame;
import com.sun.jdi.StringReference;
import com.sun.jdi.VirtualMachine;
import com.sun.jdi.connect.AttachingConnector;
import com.sun.jdi.connect.Connector;
import com.sun.jdi.event.BreakpointEvent;
import com.sun.jdi.event.ClassPrepareEvent;
import com.sun.jdi.event.Event;
import com.sun.jdi.event.EventSet;
import com.sun.jdi.event.MethodEntryEvent;
import com.sun.jdi.request.EventRequest;
import com.sun.jdi.request.MethodEntryRequest;
import io.nccl4j.processes.ChildJvm;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/**
 * The way from a call to its native call is short and goes one way: a debugger writes down the files of the library
 * whose methods are entered, in a JVM of its own.
 */
class CallPathTest {
    /** With arguments that were checked before. */
    private static final int MOST_FILES = 11;
    /** With new arguments. */
    private static final int MOST_FILES_AT_FIRST = 27;
    private static final Path SOURCES = Path.of("src", "main", "java");
    private static final int CALLS = 4 * 2 * 5;
    private static final long LIMIT_MILLIS = 60_000;
    private static final String AGENT = "-agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=127.0.0.1:0";

    /** Files in the order of their first entry. */
    private final Map<String, Set<String>> files = new LinkedHashMap<>();
    /** Files that were entered while one of their methods was running, from another file. */
    private final Map<String, Set<String>> returns = new TreeMap<>();
    private @Nullable MethodEntryRequest entries;
    private String call = "";

    @Test
    void aCallPassesThroughFewFilesAndComesBackToNone() throws Exception {
        try (ChildJvm child = ChildJvm.start(CallPathProcess.class, Map.of("JAVA_TOOL_OPTIONS", AGENT))) {
            String listening = child.await("Listening for transport");
            VirtualMachine machine = attach(listening.substring(listening.lastIndexOf(' ') + 1));
            watch(machine);
            child.await("done");
        }
        // The functions that the capture calls enter the stream which runs them.
        assertThat(returns.remove(CallPathProcess.CAPTURE)).contains("cuda/CudaStream.java from ep/EpHandle.java");
        files.remove(CallPathProcess.CAPTURE);
        assertThat(returns).as("files that a call comes back to").isEmpty();
        assertThat(files).hasSize(CALLS);
        assertThat(files).allSatisfy((name, passed) -> assertThat(passed).as(name)
                .contains("ep/EpHandle.java", "internal/HotCalls.java")
                .hasSizeLessThanOrEqualTo(name.contains(CallPathProcess.FIRST) ? MOST_FILES_AT_FIRST : MOST_FILES));
    }

    private static VirtualMachine attach(String port) throws Exception {
        AttachingConnector connector = Bootstrap.virtualMachineManager().attachingConnectors().stream()
                .filter(one -> one.name().equals("com.sun.jdi.SocketAttach")).findFirst().orElseThrow();
        Map<String, Connector.Argument> arguments = connector.defaultArguments();
        arguments.get("hostname").setValue("127.0.0.1");
        arguments.get("port").setValue(port);
        arguments.get("timeout").setValue(Long.toString(LIMIT_MILLIS));
        return connector.attach(arguments);
    }

    /** Until the process has made all its calls. */
    private void watch(VirtualMachine machine) throws Exception {
        var prepared = machine.eventRequestManager().createClassPrepareRequest();
        prepared.addClassFilter(CallPathProcess.class.getName());
        prepared.enable();
        machine.resume();
        boolean ended = false;
        while (!ended) {
            EventSet events = machine.eventQueue().remove(LIMIT_MILLIS);
            assertThat(events).as("an event within the limit, after %s", files.keySet()).isNotNull();
            for (Event event : events) {
                ended |= seen(event, machine);
            }
            events.resume();
        }
        machine.dispose();
    }

    private boolean seen(Event event, VirtualMachine machine) throws Exception {
        switch (event) {
            case ClassPrepareEvent prepared -> {
                stopAt(prepared.referenceType(), "begin", machine);
                stopAt(prepared.referenceType(), "end", machine);
            }
            case BreakpointEvent stopped -> {
                if (stopped.location().method().name().equals("begin")) {
                    begin(stopped, machine);
                } else if (entries != null) {
                    machine.eventRequestManager().deleteEventRequest(entries);
                    entries = null;
                }
            }
            case MethodEntryEvent entry -> enter(entry);
            default -> {
            }
        }
        return files.containsKey(CallPathProcess.CAPTURE) && entries == null;
    }

    private static void stopAt(ReferenceType type, String method, VirtualMachine machine) {
        Location start = type.methodsByName(method).getFirst().location();
        machine.eventRequestManager().createBreakpointRequest(start).enable();
    }

    private void begin(BreakpointEvent stopped, VirtualMachine machine) throws Exception {
        call = ((StringReference) stopped.thread().frame(0).getArgumentValues().getFirst()).value();
        if (!call.startsWith(CallPathProcess.UNWATCHED)) {
            files.put(call, new LinkedHashSet<>());
            entries = machine.eventRequestManager().createMethodEntryRequest();
            entries.addThreadFilter(stopped.thread());
            entries.addClassFilter("io.nccl4j.*");
            entries.setSuspendPolicy(EventRequest.SUSPEND_EVENT_THREAD);
            entries.enable();
        }
    }

    private void enter(MethodEntryEvent entry) throws IncompatibleThreadStateException {
        String file = file(entry.location());
        if (file != null) {
            files.get(call).add(file);
            List<String> callers = callers(entry.thread().frames());
            if (!callers.isEmpty() && !callers.getFirst().equals(file) && callers.contains(file)) {
                returns.computeIfAbsent(call, key -> new LinkedHashSet<>()).add(file + " from " + callers.getFirst());
            }
        }
    }

    /** The files of the callers that belong to the library, the nearest first. */
    private static List<String> callers(List<StackFrame> frames) {
        List<String> callers = new ArrayList<>();
        for (StackFrame frame : frames.subList(1, frames.size())) {
            if (frame.location().declaringType().name().equals(CallPathProcess.class.getName())) {
                break;
            }
            String file = file(frame.location());
            if (file != null) {
                callers.add(file);
            }
        }
        return callers;
    }

    /** Null for code that is not of the library. A nested class, a hidden one too, is in the file of the outermost. */
    private static @Nullable String file(Location location) {
        String file = location.declaringType().name().replaceAll("[$/].*", "").replace('.', '/') + ".java";
        return Files.exists(SOURCES.resolve(file)) ? file.replace("io/nccl4j/", "") : null;
    }
}
