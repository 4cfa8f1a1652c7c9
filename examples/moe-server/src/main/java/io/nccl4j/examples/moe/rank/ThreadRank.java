package io.nccl4j.examples.moe.rank;

import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.nccl.Bootstrap;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** A rank as a thread of this process. */
final class ThreadRank implements Rank, RankLink {
    private final int number;
    private final BlockingQueue<RankCommand> commands = new LinkedBlockingQueue<>();
    private final BlockingQueue<RankAnswer> answers = new LinkedBlockingQueue<>();
    private final Thread thread;

    ThreadRank(RankOptions options, int number, Bootstrap bootstrap) {
        this.number = number;
        this.thread = Thread.ofPlatform().daemon().name("rank-" + number).start(() -> {
            try (bootstrap) {
                RankLoop.run(options, bootstrap, this);
            } catch (Throwable e) {
                answers.add(RankAnswer.failed(e));
            }
        });
    }

    @Override
    public int number() {
        return number;
    }

    @Override
    public void send(RankCommand command) {
        commands.add(command);
    }

    @Override
    public RankAnswer await(Duration limit) throws RankLostException {
        try {
            RankAnswer answer = answers.poll(limit.toMillis(), TimeUnit.MILLISECONDS);
            if (answer == null) {
                throw new RankLostException("rank " + number + " has not answered for " + limit.toSeconds() + " s");
            }
            if (answer.failure() != null) {
                throw new RankLostException("rank " + number + " has failed: " + answer.failure());
            }
            return answer;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new RankLostException("interrupted while waiting for rank " + number);
        }
    }

    @Override
    public RankCommand next() throws InterruptedException {
        return commands.take();
    }

    @Override
    public void answer(RankAnswer answer) {
        answers.add(answer);
    }

    /** A thread cannot be ended by force; it ends with the process. */
    @Override
    public void kill() {
        commands.add(new RankCommand.Stop());
    }

    @Override
    public boolean join(Duration limit) {
        try {
            return thread.join(limit);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }
}
