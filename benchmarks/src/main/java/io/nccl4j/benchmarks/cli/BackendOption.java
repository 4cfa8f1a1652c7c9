package io.nccl4j.benchmarks.cli;

import io.nccl4j.Backend;
import java.util.Locale;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/** The choice between the emulator and the real libraries; a mixin. */
public final class BackendOption {
    @Option(names = "--backend", paramLabel = "emulator|native", defaultValue = "emulator", converter = Converter.class,
            description = "Run on the CPU emulator or on the real libraries (default: ${DEFAULT-VALUE}).")
    private Backend backend = Backend.EMULATOR;

    /** Makes the choice for this JVM. Must come before the first use of nccl4j. */
    public Backend use() {
        System.setProperty("nccl4j.backend", backend.name().toLowerCase(Locale.ROOT));
        return backend;
    }

    /** The choice. */
    public Backend backend() {
        return backend;
    }

    static final class Converter implements ITypeConverter<Backend> {
        @Override
        public Backend convert(String value) {
            return switch (value) {
                case "emulator" -> Backend.EMULATOR;
                case "native" -> Backend.NATIVE;
                default -> throw new TypeConversionException("expected emulator or native but was '" + value + "'");
            };
        }
    }
}
