package io.nccl4j.examples.moe.rank;

import com.google.gson.Gson;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.nccl.Bootstrap;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;

/**
 * The main program of a rank that is a process: connects to the engine, learns its options, and serves until it is told
 * to stop.
 */
public final class RankProcess {
    static final String PORT = "MOE_SERVER_PORT";
    static final String SECRET = "MOE_SERVER_SECRET";

    private RankProcess() {
    }

    /** Ends when the engine says so or is gone. */
    public static void run() throws IOException, InterruptedException {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), Integer.parseInt(System.getenv(PORT)))) {
            socket.setTcpNoDelay(true);
            DataInputStream in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
            DataOutputStream out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
            out.writeUTF(System.getenv(SECRET));
            out.writeInt(Integer.parseInt(System.getenv("RANK")));
            out.flush();
            RankOptions options = new Gson().fromJson(in.readUTF(), RankOptions.class);
            RankLink link = new RankLink() {
                @Override
                public RankCommand next() throws IOException {
                    return Wire.readCommand(in);
                }

                @Override
                public void answer(RankAnswer answer) throws IOException {
                    Wire.write(answer, out);
                }
            };
            try (Bootstrap bootstrap = Bootstraps.fromEnvironment()) {
                RankLoop.run(options, bootstrap, link);
            } catch (RuntimeException e) {
                link.answer(RankAnswer.failed(e));
            }
        }
    }
}
