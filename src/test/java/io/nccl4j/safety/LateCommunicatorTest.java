package io.nccl4j.safety;

import static io.nccl4j.checks.Refusals.assertFailure;
import static org.assertj.core.api.Assertions.assertThat;

import io.nccl4j.WaitTimeoutException;
import io.nccl4j.checks.Condition;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.Emulator;
import io.nccl4j.junit.EmulatorExtension;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.nccl.CommunicatorOptions;
import io.nccl4j.nccl.UniqueId;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** A rank that comes too late: what is made of the call that was given up belongs to nobody, and is not left behind. */
@ExtendWith(EmulatorExtension.class)
class LateCommunicatorTest {
    @Test
    void whatIsMadeAfterTheLimitIsAborted() throws InterruptedException {
        long communicators = Emulator.usage().communicators();
        long aborts = Emulator.callCount("ncclCommAbort");
        UniqueId id = UniqueId.create();
        CommunicatorOptions options = CommunicatorOptions.defaults().limit(Duration.ofMillis(100));
        assertFailure(WaitTimeoutException.class, () -> Communicator.init(id, 0, 2, CudaDevice.of(0), options));
        Communicator late = Communicator.init(id, 1, 2, CudaDevice.of(1));
        Condition.awaitEndOfCall("ncclCommInitRankScalable of rank 0");
        assertThat(Emulator.callCount("ncclCommAbort")).isEqualTo(aborts + 1);
        late.abort();
        late.close();
        assertThat(Emulator.usage().communicators()).isEqualTo(communicators);
    }
}
