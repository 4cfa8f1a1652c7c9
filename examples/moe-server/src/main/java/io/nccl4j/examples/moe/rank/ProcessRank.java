package io.nccl4j.examples.moe.rank;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** A rank as a process of its own, which has connected to this one. */
final class ProcessRank implements Rank {
    private final int number;
    private final Process process;
    private final Socket socket;
    private final DataInputStream in;
    private final DataOutputStream out;

    ProcessRank(int number, Process process, Socket socket) throws IOException {
        this.number = number;
        this.process = process;
        this.socket = socket;
        socket.setTcpNoDelay(true);
        this.in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
        this.out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
    }

    @Override
    public int number() {
        return number;
    }

    /** Of its process. */
    long pid() {
        return process.pid();
    }

    @Override
    public void send(RankCommand command) throws RankLostException {
        try {
            Wire.write(command, out);
        } catch (IOException e) {
            throw gone(e);
        }
    }

    @Override
    public RankAnswer await(Duration limit) throws RankLostException {
        try {
            socket.setSoTimeout(Math.toIntExact(limit.toMillis()));
            RankAnswer answer = Wire.readAnswer(in);
            if (answer.failure() != null) {
                throw new RankLostException("rank " + number + " has failed: " + answer.failure());
            }
            return answer;
        } catch (SocketTimeoutException e) {
            throw new RankLostException("rank " + number + " has not answered for " + limit.toSeconds() + " s");
        } catch (IOException e) {
            throw gone(e);
        }
    }

    private RankLostException gone(IOException e) {
        return new RankLostException("rank " + number + " (process " + process.pid() + ") is gone: " + e);
    }

    @Override
    public void kill() {
        process.destroyForcibly();
        closeSocket();
    }

    @Override
    public boolean join(Duration limit) {
        try {
            boolean ended = process.waitFor(limit.toMillis(), TimeUnit.MILLISECONDS);
            closeSocket();
            return ended;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    private void closeSocket() {
        try {
            socket.close();
        } catch (IOException e) {
            // It was of no use any more.
        }
    }
}
