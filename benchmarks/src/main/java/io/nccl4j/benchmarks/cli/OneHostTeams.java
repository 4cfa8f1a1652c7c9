package io.nccl4j.benchmarks.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Several LSA teams, or several ranks of a device, on one host with the real libraries: for tests, and asked for by
 * environment variables, which native/rma-local/README.md describes.
 */
final class OneHostTeams {
    private static final String README = "native/rma-local/README.md";
    private static final String PRELOADED = "libnccl4j_one_host.so";

    private OneHostTeams() {
    }

    /** The variables without which NCCL refuses, or makes other teams. */
    static List<String> missing(Map<String, String> environment, int teams, int ranksOfATeam, boolean sharedDevices) {
        List<String> missing = new ArrayList<>();
        if (teams > 1) {
            addUnlessSet(missing, environment, "NCCL_LSA_TEAM_SIZE", Integer.toString(ranksOfATeam));
        }
        if (sharedDevices) {
            addUnlessSet(missing, environment, "NCCL_MULTI_RANK_GPU_ENABLE", "1");
        }
        return missing;
    }

    /** The variables that a host without a network adapter, or with too few devices, needs; told, not demanded. */
    static List<String> advised(Map<String, String> environment, int teams, boolean sharedDevices) {
        List<String> advised = new ArrayList<>();
        if (teams > 1) {
            addUnlessNamed(advised, environment, "NCCL_RMA_PLUGIN", "libnccl4j_rma_local.so");
            addUnlessSet(advised, environment, "NCCL_GIN_TYPE", "2");
            addUnlessSet(advised, environment, "NCCL_RMA_DISABLE", "1");
        }
        if (sharedDevices) {
            addUnlessSet(advised, environment, "CUDA_DEVICE_MAX_CONNECTIONS", "32");
            for (String kernels : List.of("COMM_SMS", "SHUFFLE_SMS", "PREPROCESS_NUM_SMS")) {
                addUnlessNamed(advised, environment, "NCCL_EP_" + kernels, "<SMs of a rank>");
            }
        }
        if (teams > 1 || sharedDevices) {
            addUnlessNamed(advised, environment, "LD_PRELOAD", PRELOADED);
        }
        return advised;
    }

    /**
     * Refuses what is missing, tells what is advised, and lets nccl4j take host names from the library that LD_PRELOAD
     * names, as NCCL EP does.
     */
    static void use(String options, int teams, int ranksOfATeam, boolean sharedDevices, Usage usage) {
        Map<String, String> environment = System.getenv();
        List<String> missing = missing(environment, teams, ranksOfATeam, sharedDevices);
        usage.require(missing.isEmpty(), "%s: with the real libraries set %s: %s", options, String.join(" ", missing),
                README);
        List<String> advised = advised(environment, teams, sharedDevices);
        if (!advised.isEmpty()) {
            System.err.println("not set, and may be needed: " + String.join(" ", advised) + ": " + README);
        }
        for (String file : environment.getOrDefault("LD_PRELOAD", "").split("[ :]")) {
            if (file.endsWith(PRELOADED)) {
                System.load(Path.of(file).toAbsolutePath().toString());
            }
        }
    }

    private static void addUnlessSet(List<String> to, Map<String, String> environment, String name, String value) {
        if (!value.equals(environment.get(name))) {
            to.add(name + "=" + value);
        }
    }

    private static void addUnlessNamed(List<String> to, Map<String, String> environment, String name, String value) {
        if (environment.getOrDefault(name, "").isEmpty()) {
            to.add(name + "=" + value);
        }
    }
}
