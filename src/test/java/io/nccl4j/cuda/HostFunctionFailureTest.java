package io.nccl4j.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.nccl4j.checks.LogListener;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Nothing leaves an upcall: an exception there would end the JVM. */
@Timeout(60)
class HostFunctionFailureTest {
    @Test
    void h10AFailureIsKeptAlsoIfTheLoggerFails() {
        CudaDevice.of(9).makeCurrent();
        try (LogListener log = new LogListener("io.nccl4j.cuda", told -> {
            throw new StackOverflowError("the logger");
        }); CudaStream stream = CudaStream.create(CudaDevice.of(9))) {
            for (Error failure : new Error[]{new OutOfMemoryError("no heap"), new AssertionError("wrong")}) {
                stream.launchHostFunction(() -> {
                    throw failure;
                });
                assertThatThrownBy(() -> stream.await(Duration.ofSeconds(20))).isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("a host function on CudaStream#").hasCause(failure);
            }
            assertThat(log.lines()).hasSize(2);
            stream.await(Duration.ofSeconds(20));
        }
    }
}
