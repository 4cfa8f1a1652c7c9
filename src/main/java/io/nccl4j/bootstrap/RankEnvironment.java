package io.nccl4j.bootstrap;

import io.nccl4j.nccl.Bootstrap;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * The environment variables of a launcher, understood: this rank, and where it meets the others.
 *
 * @param launcher its name, for messages
 * @param localRank null if it does not tell
 * @param host where rank 0 listens; null if the ranks are on one machine and meet in a folder
 * @param job tells jobs apart
 */
record RankEnvironment(String launcher, int rank, int size, @Nullable Integer localRank, @Nullable String host,
        int port, String job) {
    private static final String ADDRESS = "NCCL4J_BOOTSTRAP_ADDRESS";
    /** A range in a node list, and its first number. */
    private static final Pattern NODE_RANGES = Pattern.compile("\\[([^,\\]-]+)[^\\]]*]");
    private static final int FIRST_PORT = 20_000;
    private static final int PORTS = 10_000;

    RankEnvironment {
        if (size < 1 || rank < 0 || rank >= size) {
            throw new IllegalStateException(
                    launcher + " says that this is rank " + rank + " of " + size + ": must be 0 <= rank < size");
        }
    }

    /** @param fullHostName of this machine, asked only if need be */
    static RankEnvironment parse(Map<String, String> environment, Supplier<String> fullHostName) {
        Variables variables = new Variables(environment);
        if (variables.has("RANK") && variables.has("WORLD_SIZE")) {
            return torchrun(variables);
        }
        if (variables.has("OMPI_COMM_WORLD_RANK")) {
            return openMpi(variables);
        }
        if (variables.has("JOB_COMPLETION_INDEX")) {
            return kubernetes(variables, fullHostName);
        }
        if (variables.has("SLURM_PROCID")) {
            return slurm(variables);
        }
        throw new IllegalStateException(
                "no launcher has started this process: looked for RANK and WORLD_SIZE (torchrun), "
                        + "OMPI_COMM_WORLD_RANK (Open MPI), JOB_COMPLETION_INDEX (Kubernetes), SLURM_PROCID (SLURM). "
                        + "Set RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, or use Bootstraps.tcp or Bootstraps.file");
    }

    private static RankEnvironment torchrun(Variables variables) {
        // The agent of torchrun itself listens at the master's port.
        int shift = "True".equalsIgnoreCase(variables.get("TORCHELASTIC_USE_AGENT_STORE")) ? 1 : 0;
        return at(variables, "torchrun", variables.number("RANK"), variables.number("WORLD_SIZE"),
                variables.numberOrNull("LOCAL_RANK"), variables.orElse("TORCHELASTIC_RUN_ID", ""), null, shift, 0);
    }

    private static RankEnvironment openMpi(Variables variables) {
        int size = variables.number("OMPI_COMM_WORLD_SIZE");
        Integer onThisMachine = variables.numberOrNull("OMPI_COMM_WORLD_LOCAL_SIZE");
        String job = variables.orElse("PMIX_NAMESPACE", variables.orElse("OMPI_MCA_ess_base_jobid", ""));
        boolean oneMachine = onThisMachine != null && onThisMachine == size && !job.isEmpty();
        int rank = variables.number("OMPI_COMM_WORLD_RANK");
        Integer local = variables.numberOrNull("OMPI_COMM_WORLD_LOCAL_RANK");
        if (oneMachine && !variables.has(ADDRESS) && !variables.has("MASTER_ADDR")) {
            return new RankEnvironment("Open MPI", rank, size, local, null, 0, job);
        }
        return at(variables, "Open MPI", rank, size, local, job, null, 0, 0);
    }

    private static RankEnvironment kubernetes(Variables variables, Supplier<String> fullHostName) {
        int rank = variables.number("JOB_COMPLETION_INDEX");
        int size = variables.number("WORLD_SIZE");
        String job = variables.orElse("HOSTNAME", "");
        String suffix = "-" + rank;
        String first = null;
        if (job.endsWith(suffix)) {
            job = job.substring(0, job.length() - suffix.length());
            // The pods of an indexed job are called job-0, job-1, ... below the name of its headless service.
            String full = fullHostName.get();
            int dot = full.indexOf('.');
            first = job + "-0" + (full.startsWith(job + suffix + ".") ? full.substring(dot) : "");
        }
        return at(variables, "Kubernetes", rank, size, null, job, first, 0, FIRST_PORT);
    }

    private static RankEnvironment slurm(Variables variables) {
        int size = variables.has("SLURM_STEP_NUM_TASKS")
                ? variables.number("SLURM_STEP_NUM_TASKS")
                : variables.number("SLURM_NTASKS");
        String job = variables.orElse("SLURM_JOB_ID", "") + "." + variables.orElse("SLURM_STEP_ID", "");
        String nodes = variables.orElse("SLURM_STEP_NODELIST", variables.orElse("SLURM_JOB_NODELIST", ""));
        boolean oneMachine = "1".equals(variables.orElse("SLURM_STEP_NUM_NODES", variables.orElse("SLURM_NNODES", "")));
        String first = oneMachine ? "localhost" : nodes.isEmpty() ? null : firstNode(nodes);
        return at(variables, "SLURM", variables.number("SLURM_PROCID"), size, variables.numberOrNull("SLURM_LOCALID"),
                job, first, 0, FIRST_PORT + Math.floorMod(job.hashCode(), PORTS));
    }

    /**
     * The first of SLURM's short form of node lists, such as {@code gpu[01-04,07],login1}: where rank 0 is, unless
     * tasks were distributed by hand.
     */
    static String firstNode(String list) {
        String nodes = NODE_RANGES.matcher(list).replaceAll("$1");
        if (nodes.indexOf('[') >= 0) {
            throw new IllegalStateException("SLURM's node list '" + list + "' is not understood");
        }
        return nodes.split(",", 2)[0];
    }

    private static RankEnvironment at(Variables variables, String launcher, int rank, int size,
            @Nullable Integer localRank, String job, @Nullable String otherHost, int portShift, int otherPort) {
        String address = variables.get(ADDRESS);
        if (address != null) {
            int colon = address.lastIndexOf(':');
            if (colon < 1) {
                throw new IllegalStateException(ADDRESS + " is '" + address + "': must be host:port");
            }
            return new RankEnvironment(launcher, rank, size, localRank, address.substring(0, colon),
                    Variables.parse(ADDRESS, address.substring(colon + 1)), job);
        }
        String host = variables.orElse("MASTER_ADDR", otherHost == null ? "" : otherHost);
        if (host.isEmpty()) {
            throw new IllegalStateException(
                    launcher + " has started this process and does not tell where rank 0 is: set " + ADDRESS
                            + "=host:port, or MASTER_ADDR and MASTER_PORT");
        }
        int port = variables.has("MASTER_PORT") || otherPort == 0
                ? variables.number("MASTER_PORT") + portShift
                : otherPort;
        return new RankEnvironment(launcher, rank, size, localRank, host, port, job);
    }

    /** Environment variables; a wrong value is reported with its name. */
    private record Variables(Map<String, String> values) {
        boolean has(String name) {
            return get(name) != null;
        }

        /** Null if it is not set or blank. */
        @Nullable
        String get(String name) {
            String value = values.get(name);
            return value == null || value.isBlank() ? null : value.strip();
        }

        String orElse(String name, String other) {
            return Objects.requireNonNullElse(get(name), other);
        }

        int number(String name) {
            Integer value = numberOrNull(name);
            if (value == null) {
                throw new IllegalStateException(name + " is not set");
            }
            return value;
        }

        @Nullable
        Integer numberOrNull(String name) {
            String value = get(name);
            return value == null ? null : parse(name, value);
        }

        static int parse(String name, String value) {
            try {
                return Integer.parseInt(value);
            } catch (NumberFormatException e) {
                throw new IllegalStateException(name + " holds '" + value + "': must be a number", e);
            }
        }
    }

    Bootstrap connect(BootstrapOptions options) {
        BootstrapOptions told = options.orElse(job, localRank);
        if (host == null) {
            String name = "nccl4j-" + System.getProperty("user.name") + "-" + Integer.toHexString(job.hashCode());
            return Bootstraps.file(Path.of(System.getProperty("java.io.tmpdir"), name), rank, size, told);
        }
        return Bootstraps.tcp(host, port, rank, size, told);
    }
}
