package io.nccl4j.benchmarks.cli;

import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/** Where everything random comes from; a mixin. */
public final class SeedOption {
    @Option(names = "--seed", paramLabel = "HEX", converter = Converter.class,
            description = "Where random choices come from, to repeat a run (default: 1, of ep test a new one, which "
                    + "is printed).")
    private @Nullable Long seed;

    /** The seed that was given, or 1. */
    public long orOne() {
        return seed == null ? 1 : seed;
    }

    /** The seed that was given, or a new one. */
    public long orNew() {
        return seed == null ? new SplittableRandom().nextLong() : seed;
    }

    static final class Converter implements ITypeConverter<Long> {
        @Override
        public Long convert(String value) {
            try {
                return Long.parseUnsignedLong(value, 16);
            } catch (NumberFormatException e) {
                throw new TypeConversionException("expected a hexadecimal number but was '" + value + "'");
            }
        }
    }
}
