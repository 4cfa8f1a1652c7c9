package io.nccl4j.bootstrap;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.jspecify.annotations.Nullable;

/** How ranks meet. Immutable; made by {@link #builder()}. */
public final class BootstrapOptions {
    private static final Duration DEFAULT_LIMIT = Duration.ofMinutes(5);
    private static final String LIMIT = "NCCL4J_BOOTSTRAP_LIMIT_SECONDS";
    private static final String SECRET = "NCCL4J_BOOTSTRAP_SECRET";
    private static final String SECRET_FILE = "NCCL4J_BOOTSTRAP_SECRET_FILE";

    private final Duration limit;
    private final @Nullable String secret;
    private final String job;
    private final @Nullable Integer localRank;

    private BootstrapOptions(Builder values, Duration limit, @Nullable String secret) {
        this.limit = limit;
        this.secret = secret;
        this.job = values.job;
        this.localRank = values.localRank;
    }

    /** {@return options in which everything is left to the environment variables} */
    public static BootstrapOptions defaults() {
        return builder().build();
    }

    /**
     * Starts with nothing set.
     *
     * @return a builder
     */
    public static Builder builder() {
        return new Builder(System.getenv(), System.getProperties());
    }

    /** Collects the values. */
    public static final class Builder {
        private final Map<String, String> environment;
        private final Properties properties;
        private final List<String> broken = new ArrayList<>();
        private @Nullable Duration limit;
        private @Nullable String secret;
        private @Nullable Path secretFile;
        private String job = "";
        private @Nullable Integer localRank;

        Builder(Map<String, String> environment, Properties properties) {
            this.environment = environment;
            this.properties = properties;
        }

        /**
         * How long a call waits for other ranks. By default the system property {@code nccl4j.bootstrap.limit.seconds},
         * the environment variable {@code NCCL4J_BOOTSTRAP_LIMIT_SECONDS}, or 300 seconds.
         *
         * @param value the limit
         * @return this builder
         */
        public Builder limit(Duration value) {
            limit = value;
            return this;
        }

        /**
         * A text that all ranks have and strangers do not. By default the environment variable {@code
         * NCCL4J_BOOTSTRAP_SECRET}, the contents of the file that {@code NCCL4J_BOOTSTRAP_SECRET_FILE} names, or none.
         * It is no system property, because every user of the machine can read the options of {@code java}.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder secret(String value) {
            secret = value;
            return this;
        }

        /**
         * A file with the secret; a line end after it does not count.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder secretFile(Path value) {
            secretFile = value;
            return this;
        }

        /**
         * Tells jobs that meet at the same place apart; ranks of another job are refused. None by default.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder job(String value) {
            job = value;
            return this;
        }

        /**
         * Number of this rank among those on its machine. By default they are counted.
         *
         * @param value the setting
         * @return this builder
         */
        public Builder localRank(int value) {
            localRank = value;
            return this;
        }

        /**
         * {@return the options}
         *
         * @throws IllegalArgumentException if values make no sense; the message names all of them
         */
        public BootstrapOptions build() {
            broken.clear();
            Duration howLong = limit == null ? configuredLimit() : limit;
            check(!howLong.isPositive(), "limit is " + howLong + ": must be positive");
            check(localRank != null && localRank < 0, "local rank is " + localRank + ": must be at least 0");
            check(properties.getProperty("nccl4j.bootstrap.secret") != null,
                    "the system property nccl4j.bootstrap.secret would show the secret to every user of the machine:"
                            + " set " + SECRET + ", or " + SECRET_FILE + " to a file");
            String text = findSecret();
            check(text != null && text.isEmpty(), "the secret is empty: give it at least one character");
            if (!broken.isEmpty()) {
                throw new IllegalArgumentException(String.join("; ", broken));
            }
            return new BootstrapOptions(this, howLong, text);
        }

        private void check(boolean wrong, String message) {
            if (wrong) {
                broken.add(message);
            }
        }

        private Duration configuredLimit() {
            String seconds = properties.getProperty("nccl4j.bootstrap.limit.seconds", variable(LIMIT));
            if (seconds == null || seconds.isBlank()) {
                return DEFAULT_LIMIT;
            }
            try {
                return Duration.ofSeconds(Long.parseLong(seconds.strip()));
            } catch (NumberFormatException e) {
                broken.add("nccl4j.bootstrap.limit.seconds (" + LIMIT + ") is '" + seconds
                        + "': must be a number of seconds");
                return DEFAULT_LIMIT;
            }
        }

        private @Nullable String variable(String name) {
            String value = environment.get(name);
            return value == null || value.isBlank() ? null : value;
        }

        private @Nullable String findSecret() {
            check(secret != null && secretFile != null, "a secret and a file with a secret are given: give one");
            String text = secret;
            Path file = secretFile;
            if (text == null && file == null) {
                text = variable(SECRET);
                String name = variable(SECRET_FILE);
                file = text != null || name == null ? null : Path.of(name);
            }
            if (text != null || file == null) {
                return text;
            }
            try {
                return Files.readString(file).stripTrailing();
            } catch (IOException e) {
                broken.add("the secret cannot be read from " + file + ": " + e);
                return null;
            }
        }
    }

    /** The same with a job and a local rank where these options name none. */
    BootstrapOptions orElse(String launchedJob, @Nullable Integer launchedRank) {
        Builder values = builder();
        values.job = job.isEmpty() ? launchedJob : job;
        values.localRank = localRank == null ? launchedRank : localRank;
        return new BootstrapOptions(values, limit, secret);
    }

    /** {@return how long a call waits for other ranks} */
    public Duration limit() {
        return limit;
    }

    /** {@return whether there is a secret} */
    public boolean hasSecret() {
        return secret != null;
    }

    /** {@return the job; empty if there is none} */
    public String job() {
        return job;
    }

    /** {@return number of this rank among those on its machine; null to count them} */
    public @Nullable Integer localRank() {
        return localRank;
    }

    /** The key that the job's ranks have in common. */
    Secret key() {
        return Secret.of(secret, job);
    }

    /** Keeps the secret to itself. */
    @Override
    public String toString() {
        return "BootstrapOptions[limit=" + limit + ", secret=" + (secret == null ? "none" : "set") + ", job=" + job
                + ", localRank=" + localRank + "]";
    }
}
