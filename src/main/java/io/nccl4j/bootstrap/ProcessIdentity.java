package io.nccl4j.bootstrap;

import java.io.IOException;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Optional;

/**
 * A process as others on its machine can look for it.
 *
 * @param place machine and, on Linux, name space of its number: in another one the number means nothing
 * @param start in milliseconds since 1970; 0 if it is not known
 */
record ProcessIdentity(String place, long pid, long start) {
    /** Numbers are used again. Two processes may compute one start differently if the clock was set. */
    private static final long SAME_START_MILLIS = 60_000;
    private static final int MAX_CHARS = 200;

    /** This process. */
    static ProcessIdentity own() {
        ProcessHandle self = ProcessHandle.current();
        return new ProcessIdentity(hostName() + "/" + pidNamespace(), self.pid(), start(self));
    }

    private static long start(ProcessHandle process) {
        return process.info().startInstant().map(Instant::toEpochMilli).orElse(0L);
    }

    /** Name of this machine, which differs between containers, and its boot, which differs between equal names. */
    static String hostName() {
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

    private static String pidNamespace() {
        try {
            return Files.readSymbolicLink(Path.of("/proc/self/ns/pid")).toString();
        } catch (IOException | UnsupportedOperationException e) {
            return "";
        }
    }

    /** Whether {@code viewer} can look for it, and it is there. */
    boolean isRunning(ProcessIdentity viewer) {
        return place.equals(viewer.place) && find().isPresent();
    }

    /** Whether {@code viewer} can look for it, and it is not there. */
    boolean hasEnded(ProcessIdentity viewer) {
        return place.equals(viewer.place) && find().isEmpty();
    }

    private Optional<ProcessHandle> find() {
        return ProcessHandle.of(pid).filter(ProcessHandle::isAlive).filter(found -> {
            long since = start(found);
            return start == 0 || since == 0 || Math.abs(since - start) < SAME_START_MILLIS;
        });
    }

    @Override
    public String toString() {
        return "process " + pid + " of " + place.substring(0, place.indexOf('/'));
    }
}
