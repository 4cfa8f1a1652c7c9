package io.nccl4j.emulator;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class EmulatorCallTest {
    private static EmulatorCall call(String arguments) {
        return new EmulatorCall(1, 0, 0, 0, -1, 1, 0, "f", arguments);
    }

    @Test
    void argumentsAreFoundByNameAndPath() {
        EmulatorCall call = call("comm=0x7f00 config={blocking=1 inner={a=2 b=NULL} name=x} count=12");
        assertThat(call.argument("comm")).isEqualTo("0x7f00");
        assertThat(call.argument("config.blocking")).isEqualTo("1");
        assertThat(call.argument("config.inner.b")).isEqualTo("NULL");
        assertThat(call.argument("config.inner")).isEqualTo("a=2 b=NULL");
        assertThat(call.argument("count")).isEqualTo("12");
    }

    @Test
    void whatIsNotThereIsNull() {
        EmulatorCall call = call("comm=0x7f00 config={blocking=1}");
        assertThat(call.argument("blocking")).isNull();
        assertThat(call.argument("config.size")).isNull();
        assertThat(call.argument("comm.size")).isNull();
        assertThat(call("").argument("comm")).isNull();
    }

    @Test
    void aListThatWasCutCanBeRead() {
        EmulatorCall call = call("a=1 config={blocking=1 inner={a=2 b=NU");
        assertThat(call.argument("a")).isEqualTo("1");
        assertThat(call.argument("config")).isEqualTo("{blocking=1 inner={a=2 b=NU");
        assertThat(call.argument("count")).isNull();
    }
}
