package io.nccl4j.bootstrap;

import java.io.IOException;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;

/** A name for this machine: ranks with the same count as local to each other. */
final class HostName {
    private static final int MAX_CHARS = 200;

    private HostName() {
    }

    /** The host name, which differs between containers, and the kernel's boot, which differs between equal names. */
    static String get() {
        String name;
        try {
            name = InetAddress.getLocalHost().getHostName();
        } catch (IOException e) {
            name = "unknown";
        }
        String boot;
        try {
            boot = Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
        } catch (IOException e) {
            boot = "";
        }
        return name.substring(0, Math.min(name.length(), MAX_CHARS)) + "/" + boot;
    }
}
