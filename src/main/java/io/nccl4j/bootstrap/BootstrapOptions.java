package io.nccl4j.bootstrap;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import org.jspecify.annotations.Nullable;

/**
 * How ranks meet. Immutable: each method returns the changed options. {@link Bootstraps} takes what is not set from the
 * environment variables, checks all values when ranks are to meet, and names all that is wrong.
 */
public final class BootstrapOptions {
    private static final Duration DEFAULT_LIMIT = Duration.ofMinutes(5);
    private static final String LIMIT = "NCCL4J_BOOTSTRAP_LIMIT_SECONDS";
    private static final String SECRET = "NCCL4J_BOOTSTRAP_SECRET";
    private static final String SECRET_FILE = "NCCL4J_BOOTSTRAP_SECRET_FILE";

    private final Map<String, String> environment;
    private final Properties properties;
    private final @Nullable Duration limit;
    private final @Nullable String secret;
    private final @Nullable Path secretFile;
    private final String job;
    private final @Nullable Integer localRank;

    private BootstrapOptions(Map<String, String> environment, Properties properties, @Nullable Duration limit,
            @Nullable String secret, @Nullable Path secretFile, String job, @Nullable Integer localRank) {
        this.environment = environment;
        this.properties = properties;
        this.limit = limit;
        this.secret = secret;
        this.secretFile = secretFile;
        this.job = job;
        this.localRank = localRank;
    }

    /** {@return options in which everything is left to the environment variables} */
    public static BootstrapOptions defaults() {
        return from(System.getenv(), System.getProperties());
    }

    static BootstrapOptions from(Map<String, String> environment, Properties properties) {
        return new BootstrapOptions(environment, properties, null, null, null, "", null);
    }

    /**
     * How long a call waits for other ranks. By default the system property {@code nccl4j.bootstrap.limit.seconds},
     * the environment variable {@code NCCL4J_BOOTSTRAP_LIMIT_SECONDS}, or 300 seconds.
     *
     * @param value the limit
     * @return the changed options
     */
    public BootstrapOptions limit(Duration value) {
        return new BootstrapOptions(environment, properties, value, secret, secretFile, job, localRank);
    }

    /**
     * A text that all ranks have and strangers do not. By default the environment variable {@code
     * NCCL4J_BOOTSTRAP_SECRET}, the contents of the file that {@code NCCL4J_BOOTSTRAP_SECRET_FILE} names, or none.
     * It is no system property, because every user of the machine can read the options of {@code java}.
     *
     * @param value the setting
     * @return the changed options
     */
    public BootstrapOptions secret(String value) {
        return new BootstrapOptions(environment, properties, limit, value, secretFile, job, localRank);
    }

    /**
     * A file with the secret; a line end after it does not count.
     *
     * @param value the setting
     * @return the changed options
     */
    public BootstrapOptions secretFile(Path value) {
        return new BootstrapOptions(environment, properties, limit, secret, value, job, localRank);
    }

    /**
     * Tells jobs that meet at the same place apart; ranks of another job are refused. None by default.
     *
     * @param value the setting
     * @return the changed options
     */
    public BootstrapOptions job(String value) {
        return new BootstrapOptions(environment, properties, limit, secret, secretFile, value, localRank);
    }

    /**
     * Number of this rank among those on its machine. By default they are counted.
     *
     * @param value the setting
     * @return the changed options
     */
    public BootstrapOptions localRank(int value) {
        return new BootstrapOptions(environment, properties, limit, secret, secretFile, job, value);
    }

    /** The same with a job and a local rank where these options name none. */
    BootstrapOptions orElse(String launchedJob, @Nullable Integer launchedRank) {
        return new BootstrapOptions(environment, properties, limit, secret, secretFile,
                job.isEmpty() ? launchedJob : job, localRank == null ? launchedRank : localRank);
    }

    /**
     * The values, with those of the environment where none was set.
     *
     * @param limit of a wait for other ranks
     * @param secret null if there is none
     * @param job empty if there is none
     * @param localRank null to count the ranks of the machine
     */
    record Values(Duration limit, @Nullable String secret, String job, @Nullable Integer localRank) {
        boolean hasSecret() {
            return secret != null;
        }

        /** The key that the job's ranks have in common. */
        Secret key() {
            return Secret.of(secret, job);
        }
    }

    /** @throws IllegalArgumentException if values make no sense; the message names all of them */
    Values checked() {
        List<String> broken = new ArrayList<>();
        Duration longest = limit == null ? configuredLimit(broken) : limit;
        check(!longest.isPositive(), "limit is " + longest + ": must be positive", broken);
        check(localRank != null && localRank < 0, "local rank is " + localRank + ": must be at least 0", broken);
        check(properties.getProperty("nccl4j.bootstrap.secret") != null,
                "the system property nccl4j.bootstrap.secret would show the secret to every user of the machine:"
                        + " set " + SECRET + ", or " + SECRET_FILE + " to a file",
                broken);
        String text = findSecret(broken);
        check(text != null && text.isEmpty(), "the secret is empty: give it at least one character", broken);
        if (!broken.isEmpty()) {
            throw new IllegalArgumentException(String.join("; ", broken));
        }
        return new Values(longest, text, job, localRank);
    }

    private static void check(boolean wrong, String message, List<String> broken) {
        if (wrong) {
            broken.add(message);
        }
    }

    private Duration configuredLimit(List<String> broken) {
        String seconds = properties.getProperty("nccl4j.bootstrap.limit.seconds", variable(LIMIT));
        if (seconds == null || seconds.isBlank()) {
            return DEFAULT_LIMIT;
        }
        try {
            return Duration.ofSeconds(Long.parseLong(seconds.strip()));
        } catch (NumberFormatException e) {
            broken.add(
                    "nccl4j.bootstrap.limit.seconds (" + LIMIT + ") is '" + seconds + "': must be a number of seconds");
            return DEFAULT_LIMIT;
        }
    }

    private @Nullable String variable(String name) {
        String value = environment.get(name);
        return value == null || value.isBlank() ? null : value;
    }

    private @Nullable String findSecret(List<String> broken) {
        check(secret != null && secretFile != null, "a secret and a file with a secret are given: give one", broken);
        boolean given = secret != null || secretFile != null;
        String text = given ? secret : variable(SECRET);
        String file = given ? Objects.toString(secretFile, null) : variable(SECRET_FILE);
        if (text != null || file == null) {
            return text;
        }
        try {
            return Files.readString(Path.of(file)).stripTrailing();
        } catch (IOException e) {
            broken.add("the secret cannot be read from " + file + ": " + e);
            return null;
        }
    }

    /** Keeps the secret to itself. */
    @Override
    public String toString() {
        return "BootstrapOptions[limit=" + (limit == null ? "default" : limit) + ", secret="
                + (secret == null && secretFile == null ? "default" : "set") + ", job=" + job + ", localRank="
                + localRank + "]";
    }
}
