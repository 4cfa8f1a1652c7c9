package io.nccl4j.emulator;

/** Generation of NCCL EP that the emulator plays. */
public enum EpApi {
    /** API version 2, as in nccl-extensions of August 2026. */
    V2("2"),
    /** Release 0.2.0: unused rows past the count are overwritten under capture. */
    RELEASE_0_2_0("0.2.0");

    private final String value;

    EpApi(String value) {
        this.value = value;
    }

    String value() {
        return value;
    }
}
