package io.nccl4j.bootstrap;

import java.io.IOException;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;

/** What tells machines apart: ranks with the same identity count as local to each other. */
final class HostIdentity {
    private static final Path BOOT_ID = Path.of("/proc/sys/kernel/random/boot_id");
    private static final int LONGEST = 200;

    private HostIdentity() {
    }

    /**
     * The host name, which differs between containers, and the kernel's boot, which differs between machines of one
     * name.
     */
    static String get() {
        String identity = name() + "/" + boot();
        return identity.substring(0, Math.min(identity.length(), LONGEST));
    }

    private static String name() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (IOException e) {
            return "unknown";
        }
    }

    private static String boot() {
        try {
            return Files.readString(BOOT_ID).strip();
        } catch (IOException e) {
            return "";
        }
    }

    /** Number of {@code rank} among the ranks with its identity. */
    static int localRank(String[] identities, int rank) {
        int local = 0;
        for (int other = 0; other < rank; other++) {
            if (identities[other].equals(identities[rank])) {
                local++;
            }
        }
        return local;
    }
}
