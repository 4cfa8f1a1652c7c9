package io.nccl4j.benchmarks.launch;

import io.nccl4j.benchmarks.Ep;
import java.util.ArrayList;
import java.util.List;

/** The {@code ep} command as a command line for further processes. */
public final class ThisProgram {
    private ThisProgram() {
    }

    /** A short-lived JVM with this one's class path. */
    public static List<String> command(String... arguments) {
        List<String> command = new ArrayList<>(List.of(System.getProperty("java.home") + "/bin/java",
                "--enable-native-access=ALL-UNNAMED", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"));
        String library = System.getProperty("nccl4j.emulator.library");
        if (library != null) {
            command.add("-Dnccl4j.emulator.library=" + library);
        }
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Ep.class.getName()));
        command.addAll(List.of(arguments));
        return command;
    }
}
