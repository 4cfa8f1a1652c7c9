package io.nccl4j.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Nothing leaves an upcall: an exception there would end the JVM. */
@Timeout(60)
class HostFunctionFailureTest {
    private static final Logger LOG = Logger.getLogger("io.nccl4j.cuda");

    @Test
    void h10AFailureIsKeptAlsoIfTheLoggerFails() {
        int[] logged = {0};
        Handler broken = new Handler() {
            @Override
            public void publish(LogRecord record) {
                logged[0]++;
                throw new StackOverflowError("the logger");
            }

            @Override
            public void flush() {
            }

            @Override
            public void close() {
            }
        };
        LOG.addHandler(broken);
        CudaDevice.of(9).makeCurrent();
        try (CudaStream stream = CudaStream.create(CudaDevice.of(9))) {
            for (Error failure : new Error[]{new OutOfMemoryError("no heap"), new AssertionError("wrong")}) {
                stream.launchHostFunction(() -> {
                    throw failure;
                });
                assertThatThrownBy(() -> stream.await(Duration.ofSeconds(20))).isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("a host function on CudaStream#").hasCause(failure);
            }
            assertThat(logged[0]).isEqualTo(2);
            stream.await(Duration.ofSeconds(20));
        } finally {
            LOG.removeHandler(broken);
        }
    }
}
