package io.nccl4j.emulator;

import io.nccl4j.bindings.emulator.EmulatorControl;

/** How the real library would have ended the process. */
public enum ProcessEnd {
    /** A failed assertion. */
    ABORT(EmulatorControl.NCCL4J_EMU_END_ABORT()),
    /** A C++ exception that nobody catches. */
    THROW(EmulatorControl.NCCL4J_EMU_END_THROW()),
    /** A call of exit. */
    EXIT(EmulatorControl.NCCL4J_EMU_END_EXIT()),
    /** A device trap: the process goes on, its device is lost. */
    TRAP(EmulatorControl.NCCL4J_EMU_END_TRAP()),
    /** Nothing checks it: anything may happen. */
    UNDEFINED(EmulatorControl.NCCL4J_EMU_END_UNDEFINED());

    private final int code;

    ProcessEnd(int code) {
        this.code = code;
    }

    static ProcessEnd of(int code) {
        for (ProcessEnd end : values()) {
            if (end.code == code) {
                return end;
            }
        }
        return UNDEFINED;
    }
}
