package io.nccl4j.checks;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** Hears what a logger is told, until it is closed. */
public final class LogListener implements AutoCloseable {
    private final Logger logger;
    private final List<String> lines = new CopyOnWriteArrayList<>();
    private final Handler handler;

    /** Keeps the lines. */
    public LogListener(String logger) {
        this(logger, told -> {
        });
    }

    /** @param action comes with each line, and may throw */
    public LogListener(String logger, Consumer<LogRecord> action) {
        this.logger = Logger.getLogger(logger);
        handler = new Handler() {
            @Override
            public void publish(LogRecord told) {
                lines.add(told.getMessage());
                action.accept(told);
            }

            @Override
            public void flush() {
                // Nothing is kept back.
            }

            @Override
            public void close() {
                // Nothing is open.
            }
        };
        this.logger.addHandler(handler);
    }

    /** The lines so far. */
    public List<String> lines() {
        return lines;
    }

    @Override
    public void close() {
        logger.removeHandler(handler);
    }
}
