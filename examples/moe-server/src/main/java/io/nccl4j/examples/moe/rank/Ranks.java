package io.nccl4j.examples.moe.rank;

import com.google.gson.Gson;
import io.nccl4j.Backend;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.nccl.Bootstrap;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** Starts the ranks of a server and waits until all of them can make steps. */
public final class Ranks {
    private static final String MAIN = "io.nccl4j.examples.moe.Main";

    private Ranks() {
    }

    /** Ranks as threads of this process, rank r on device r. */
    public static List<Rank> threads(RankOptions options, Duration limit) {
        if (options.ranks() > CudaDevice.count()) {
            throw new ModelException(
                    options.ranks() + " ranks need as many devices, and there are " + CudaDevice.count());
        }
        List<Bootstrap> bootstraps = Bootstraps.inProcess(options.ranks());
        List<Rank> ranks = new ArrayList<>();
        for (int rank = 0; rank < options.ranks(); rank++) {
            ranks.add(new ThreadRank(options, rank, bootstraps.get(rank)));
        }
        return ready(ranks, limit);
    }

    /** Ranks as processes of this machine, rank r on device r. */
    public static List<Rank> processes(RankOptions options, Backend backend, Duration limit) {
        List<String> command = command(backend);
        List<Process> started = new ArrayList<>();
        boolean done = false;
        try (ServerSocket meeting = new ServerSocket(0, options.ranks(), InetAddress.getLoopbackAddress())) {
            byte[] bytes = new byte[16];
            new SecureRandom().nextBytes(bytes);
            String secret = HexFormat.of().formatHex(bytes);
            int port = freePort();
            for (int rank = 0; rank < options.ranks(); rank++) {
                started.add(start(command, rank, options.ranks(), port, meeting.getLocalPort(), secret));
            }
            List<Rank> ranks = ready(connect(meeting, started, options, secret, limit), limit);
            done = true;
            return ranks;
        } catch (IOException e) {
            throw new ModelException("the ranks' processes did not start: " + e.getMessage(), e);
        } finally {
            if (!done) {
                started.forEach(Process::destroyForcibly);
            }
        }
    }

    /** This JVM's own program with another sub-command, and what it was told about libraries. */
    private static List<String> command(Backend backend) {
        List<String> command = new ArrayList<>(
                List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"));
        System.getProperties().stringPropertyNames().stream().filter(name -> name.startsWith("nccl4j.")).sorted()
                .forEach(name -> command.add("-D" + name + "=" + System.getProperty(name)));
        command.addAll(
                List.of("-cp", System.getProperty("java.class.path"), MAIN, "rank", "--backend", backend.name()));
        return command;
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    /** The ranks meet each other as those of torchrun do. */
    private static Process start(List<String> command, int rank, int size, int port, int enginePort, String secret)
            throws IOException {
        ProcessBuilder builder = new ProcessBuilder(command);
        Map<String, String> environment = builder.environment();
        environment.put("RANK", Integer.toString(rank));
        environment.put("LOCAL_RANK", Integer.toString(rank));
        environment.put("WORLD_SIZE", Integer.toString(size));
        environment.put("LOCAL_WORLD_SIZE", Integer.toString(size));
        environment.put("MASTER_ADDR", InetAddress.getLoopbackAddress().getHostAddress());
        environment.put("MASTER_PORT", Integer.toString(port));
        environment.put(RankProcess.PORT, Integer.toString(enginePort));
        environment.put(RankProcess.SECRET, secret);
        builder.redirectInput(ProcessBuilder.Redirect.from(new File("/dev/null")));
        builder.redirectError(ProcessBuilder.Redirect.INHERIT);
        builder.redirectOutput(ProcessBuilder.Redirect.INHERIT);
        return builder.start();
    }

    private static List<Rank> connect(ServerSocket meeting, List<Process> started, RankOptions options, String secret,
            Duration limit) throws IOException {
        long deadline = System.nanoTime() + limit.toNanos();
        Rank[] ranks = new Rank[options.ranks()];
        meeting.setSoTimeout(200);
        for (int missing = ranks.length; missing > 0;) {
            try {
                Socket socket = meeting.accept();
                socket.setSoTimeout(5000);
                DataInputStream in = new DataInputStream(socket.getInputStream());
                String given = in.readUTF();
                int rank = in.readInt();
                if (!given.equals(secret) || rank < 0 || rank >= ranks.length || ranks[rank] != null) {
                    socket.close();
                    continue;
                }
                DataOutputStream out = new DataOutputStream(socket.getOutputStream());
                out.writeUTF(new Gson().toJson(options));
                out.flush();
                ranks[rank] = new ProcessRank(rank, started.get(rank), socket);
                missing--;
            } catch (SocketTimeoutException e) {
                for (int rank = 0; rank < ranks.length; rank++) {
                    if (!started.get(rank).isAlive()) {
                        throw new IOException(
                                "rank " + rank + " ended with exit code " + started.get(rank).exitValue());
                    }
                }
                if (System.nanoTime() > deadline) {
                    throw new IOException("not all ranks have come within " + limit.toSeconds() + " s");
                }
            }
        }
        return new ArrayList<>(List.of(ranks));
    }

    /** Waits for all at once: the one that fails makes the others wait in vain. */
    private static List<Rank> ready(List<Rank> ranks, Duration limit) {
        BlockingQueue<Optional<String>> outcomes = new LinkedBlockingQueue<>();
        for (Rank rank : ranks) {
            Thread.ofVirtual().start(() -> outcomes.add(failure(rank, limit)));
        }
        try {
            for (int missing = ranks.size(); missing > 0; missing--) {
                Optional<String> failure = outcomes.take();
                if (failure.isPresent()) {
                    ranks.forEach(Rank::kill);
                    throw new ModelException(failure.get());
                }
            }
            return ranks;
        } catch (InterruptedException e) {
            ranks.forEach(Rank::kill);
            Thread.currentThread().interrupt();
            throw new ModelException("interrupted while the ranks started", e);
        }
    }

    private static Optional<String> failure(Rank rank, Duration limit) {
        try {
            rank.await(limit);
            return Optional.empty();
        } catch (RankLostException e) {
            return Optional.of(e.getMessage());
        }
    }
}
