package io.nccl4j.examples.moe.rank;

import io.nccl4j.examples.moe.step.StepBatch;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.Set;
import java.util.TreeSet;

/** How commands and answers travel between the engine's process and a rank's. */
final class Wire {
    private static final int STEP = 1;
    private static final int LEAVE_OUT = 2;
    private static final int STOP = 3;

    private Wire() {
    }

    static void write(RankCommand command, DataOutputStream out) throws IOException {
        switch (command) {
            case RankCommand.Step step -> {
                StepBatch batch = step.batch();
                out.writeByte(STEP);
                out.writeInt(batch.rows());
                for (int row = 0; row < batch.rows(); row++) {
                    out.writeInt(batch.tokens()[row]);
                    out.writeInt(batch.slots()[row]);
                    out.writeInt(batch.positions()[row]);
                    out.writeFloat(batch.temperatures()[row]);
                    out.writeLong(batch.seeds()[row]);
                }
            }
            case RankCommand.LeaveOut leaveOut -> {
                out.writeByte(LEAVE_OUT);
                write(leaveOut.ranks(), out);
            }
            case RankCommand.Stop stop -> out.writeByte(STOP);
        }
        out.flush();
    }

    static RankCommand readCommand(DataInputStream in) throws IOException {
        int kind = in.readByte();
        return switch (kind) {
            case STEP -> {
                StepBatch batch = StepBatch.ofSize(in.readInt());
                for (int row = 0; row < batch.rows(); row++) {
                    batch.tokens()[row] = in.readInt();
                    batch.slots()[row] = in.readInt();
                    batch.positions()[row] = in.readInt();
                    batch.temperatures()[row] = in.readFloat();
                    batch.seeds()[row] = in.readLong();
                }
                yield new RankCommand.Step(batch);
            }
            case LEAVE_OUT -> new RankCommand.LeaveOut(readSet(in));
            case STOP -> new RankCommand.Stop();
            default -> throw new IOException("a command of kind " + kind);
        };
    }

    static void write(RankAnswer answer, DataOutputStream out) throws IOException {
        out.writeInt(answer.sampled().length);
        for (int token : answer.sampled()) {
            out.writeInt(token);
        }
        write(answer.lost(), out);
        out.writeUTF(answer.failure() == null
                ? ""
                : answer.failure().substring(0, Math.min(4096, answer.failure().length())));
        out.flush();
    }

    static RankAnswer readAnswer(DataInputStream in) throws IOException {
        int[] sampled = new int[in.readInt()];
        for (int i = 0; i < sampled.length; i++) {
            sampled[i] = in.readInt();
        }
        Set<Integer> lost = readSet(in);
        String failure = in.readUTF();
        return new RankAnswer(sampled, lost, failure.isEmpty() ? null : failure);
    }

    private static void write(Set<Integer> ranks, DataOutputStream out) throws IOException {
        out.writeInt(ranks.size());
        for (int rank : ranks) {
            out.writeInt(rank);
        }
    }

    private static Set<Integer> readSet(DataInputStream in) throws IOException {
        Set<Integer> ranks = new TreeSet<>();
        for (int left = in.readInt(); left > 0; left--) {
            ranks.add(in.readInt());
        }
        return ranks;
    }
}
