package io.nccl4j.emulator;

import io.nccl4j.bindings.emulator.EmulatorControl;

/** Faults as the emulator's control interface takes them. */
final class FaultCalls {
    private FaultCalls() {
    }

    static void inject(Fault fault) {
        int code = switch (fault) {
            case Fault.Delay f -> call(EmulatorControl.NCCL4J_EMU_FAULT_DELAY(), f.rank(), f.nth(), f.by().toMillis());
            case Fault.SlowLink f ->
                call(EmulatorControl.NCCL4J_EMU_FAULT_SLOW_LINK(), f.rank(), f.nth(), f.by().toMillis());
            case Fault.Silence f -> call(EmulatorControl.NCCL4J_EMU_FAULT_SILENCE(), f.rank(), f.nth(), 0);
            case Fault.EndProcess f -> call(EmulatorControl.NCCL4J_EMU_FAULT_END_PROCESS(), f.rank(), f.nth(), 0);
            case Fault.FailAllocation f -> call(EmulatorControl.NCCL4J_EMU_FAULT_ALLOCATION(), f.device(), f.nth(), 0);
            case Fault.FailLaunch f -> call(EmulatorControl.NCCL4J_EMU_FAULT_LAUNCH(), f.device(), f.nth(), 0);
            case Fault.DropMessages f ->
                call(EmulatorControl.NCCL4J_EMU_FAULT_DROP_MESSAGES(), f.rank(), f.nth(), f.peer());
        };
        ControlCalls.check(code, fault.toString());
    }

    private static int call(int kind, int subject, long nth, long value) {
        return EmulatorControl.nccl4jEmuInjectFault(kind, subject, nth, value);
    }
}
