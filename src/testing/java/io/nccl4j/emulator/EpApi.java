package io.nccl4j.emulator;

/** Generation of NCCL EP that the emulator plays. */
public enum EpApi {
    /** Release 0.1.0, with strict struct sizes. */
    RELEASE_0_1_0("1"),
    /** API v2. */
    V2("2");

    private final String value;

    EpApi(String value) {
        this.value = value;
    }

    String value() {
        return value;
    }
}
