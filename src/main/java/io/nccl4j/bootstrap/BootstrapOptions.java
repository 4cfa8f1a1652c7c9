package io.nccl4j.bootstrap;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * How ranks meet. Immutable: each method returns changed options.
 *
 * @param limit how long a call waits for other ranks; by default the system property {@code
 *     nccl4j.bootstrap.limit.seconds}, the environment variable {@code NCCL4J_BOOTSTRAP_LIMIT_SECONDS}, or 300 seconds
 * @param secret a text that all ranks have and strangers do not; by default the system property {@code
 *     nccl4j.bootstrap.secret}, the environment variable {@code NCCL4J_BOOTSTRAP_SECRET}, or none. Proves who belongs
 *     to the job; nothing is encrypted
 * @param job tells jobs that meet at the same place apart; ranks of another job are refused
 * @param localRank number of this rank among those on its machine; null to count them
 */
public record BootstrapOptions(Duration limit, @Nullable String secret, String job, @Nullable Integer localRank) {
    private static final Duration LIMIT = Duration.ofMinutes(5);

    /** Refuses a limit that is not positive, an empty secret and a negative local rank. */
    public BootstrapOptions {
        if (limit.isNegative() || limit.isZero()) {
            throw new IllegalArgumentException("limit is " + limit + ": must be positive");
        }
        if (secret != null && secret.isEmpty()) {
            throw new IllegalArgumentException("the secret is empty");
        }
        if (localRank != null && localRank < 0) {
            throw new IllegalArgumentException("local rank is " + localRank + ": must be at least 0");
        }
    }

    /** What the system properties and environment variables say, and no job name. */
    public static BootstrapOptions defaults() {
        String seconds = configured("nccl4j.bootstrap.limit.seconds", "NCCL4J_BOOTSTRAP_LIMIT_SECONDS");
        return new BootstrapOptions(seconds == null ? LIMIT : parse(seconds),
                configured("nccl4j.bootstrap.secret", "NCCL4J_BOOTSTRAP_SECRET"), "", null);
    }

    private static @Nullable String configured(String property, String variable) {
        String value = System.getProperty(property, System.getenv(variable));
        return value == null || value.isBlank() ? null : value;
    }

    private static Duration parse(String seconds) {
        try {
            return Duration.ofSeconds(Long.parseLong(seconds.strip()));
        } catch (NumberFormatException e) {
            throw new IllegalArgumentException(
                    "nccl4j.bootstrap.limit.seconds (NCCL4J_BOOTSTRAP_LIMIT_SECONDS) is '" + seconds
                            + "': must be a number of seconds",
                    e);
        }
    }

    /** With another limit. */
    public BootstrapOptions withLimit(Duration value) {
        return new BootstrapOptions(value, secret, job, localRank);
    }

    /** With this secret. */
    public BootstrapOptions withSecret(String value) {
        return new BootstrapOptions(limit, value, job, localRank);
    }

    /** With this job name. */
    public BootstrapOptions withJob(String value) {
        return new BootstrapOptions(limit, secret, value, localRank);
    }

    /** With a local rank that is known. */
    public BootstrapOptions withLocalRank(int value) {
        return new BootstrapOptions(limit, secret, job, value);
    }

    /** Keeps the secret to itself. */
    @Override
    public String toString() {
        return "BootstrapOptions[limit=" + limit + ", secret=" + (secret == null ? "none" : "set") + ", job=" + job
                + ", localRank="
                + localRank + "]";
    }
}
