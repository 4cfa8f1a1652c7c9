package io.nccl4j.examples.moe.rank;

import io.nccl4j.examples.moe.model.ModelException;
import io.nccl4j.examples.moe.step.RankModel;
import io.nccl4j.examples.moe.step.RankOptions;
import io.nccl4j.nccl.Bootstrap;
import java.io.IOException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The work of a rank from its start to its end, on one platform thread. */
final class RankLoop {
    private static final Logger LOG = LoggerFactory.getLogger(RankLoop.class);

    private RankLoop() {
    }

    static void run(RankOptions options, Bootstrap bootstrap, RankLink link) throws IOException, InterruptedException {
        try (RankModel model = new RankModel(options, bootstrap)) {
            link.answer(RankAnswer.READY);
            while (true) {
                switch (link.next()) {
                    case RankCommand.Step step ->
                        link.answer(new RankAnswer(model.run(step.batch()), model.lostRanks(), null));
                    case RankCommand.LeaveOut leaveOut -> model.leaveOut(leaveOut.ranks());
                    case RankCommand.Stop stop -> {
                        return;
                    }
                }
            }
        } catch (ModelException e) {
            // One sentence, which whoever started the server is told.
            link.answer(RankAnswer.failed(e));
        } catch (RuntimeException e) {
            LOG.error("rank {} ends", bootstrap.rank(), e);
            link.answer(RankAnswer.failed(e));
        }
    }
}
