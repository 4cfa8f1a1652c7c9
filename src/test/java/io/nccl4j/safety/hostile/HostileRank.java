package io.nccl4j.safety.hostile;

import io.nccl4j.NativeObject;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.emulator.EmulatedRank;
import io.nccl4j.ep.EpGroup;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * A rank of a hostile sequence. All ranks draw the same numbers, so that they make the same calls with corresponding
 * objects: then nothing makes a rank wait for another for ever, whatever the call. What comes of a call is compared
 * between the ranks.
 */
final class HostileRank {
    private final HostileSequence sequence;
    private final EmulatedRank rank;
    private final HostileScene scene;
    private final RandomCalls calls;
    private final RightCalls right;
    private final HostileSpecials specials;
    private final HostileSituations situations;

    HostileRank(HostileSequence sequence, EmulatedRank rank, Arena arena) {
        this.sequence = sequence;
        this.rank = rank;
        this.scene = new HostileScene(sequence, rank);
        this.calls = new RandomCalls(scene, arena);
        this.right = new RightCalls(scene, calls);
        this.specials = new HostileSpecials(scene, calls);
        this.situations = new HostileSituations(scene, calls, right, specials);
    }

    /** The whole sequence on this rank. */
    void run() {
        boolean inStep = true;
        for (int action = 0; action < sequence.actions() && inStep; action++) {
            sequence.statistics().action();
            if (action == sequence.faultAt()) {
                rank.bootstrap().barrier();
                if (rank.rank() == 0) {
                    sequence.injectFault();
                }
                rank.bootstrap().barrier();
            }
            String outcome = act();
            scene.trail.observe();
            inStep = agree(action, outcome);
        }
        if (!inStep) {
            sequence.breakWaits("the ranks are out of step");
            scene.endLockstep();
            aftermath();
        }
        tearDown();
    }

    /** One action; what came of it. */
    private String act() {
        int chosen = scene.random.nextInt(107);
        if (chosen < 55) {
            return calls.call("");
        } else if (chosen < 60) {
            return calls.callOnAnotherThread();
        } else if (chosen < 67) {
            return scripted("step", right::step);
        } else if (chosen < 72) {
            return scripted("capture", right::capture);
        } else if (chosen < 78) {
            return scripted("replay", right::replay);
        } else if (chosen < 81) {
            return scripted("staged", right::staged);
        } else if (chosen < 84) {
            return scripted("explicit", right::explicit);
        } else if (chosen < 86) {
            return scripted("cache", right::cache);
        } else if (chosen < 88) {
            return scripted("pool", right::handlePool);
        } else if (chosen < 90) {
            return scripted("ring", specials::ring);
        } else if (chosen < 91) {
            return scripted("foreign", specials::foreign);
        } else if (chosen < 92) {
            return scripted("adopted", specials::adopted);
        } else if (chosen < 93) {
            return scripted("short life", specials::shortLife);
        } else if (chosen < 94) {
            return scripted("bootstraps", specials::bootstraps);
        } else if (chosen < 97) {
            return scripted("close", specials::closeSomething);
        } else if (chosen < 100) {
            return scripted("renew", specials::renew);
        } else if (chosen < 101) {
            return scripted("reset", situations::reset);
        } else if (chosen < 102) {
            return scripted("full device", situations::fullDevice);
        } else if (chosen < 103) {
            return scripted("close during a capture", situations::closeWhileAnotherCaptures);
        } else if (chosen < 104) {
            return scripted("interrupted", situations::interrupted);
        } else if (chosen < 105) {
            scripted("interrupted step", situations::interruptedStep);
            return HostileSequence.TIMED;
        } else if (chosen < 106) {
            return scripted("virtual thread", situations::virtual);
        }
        return scripted("unaligned", situations::unaligned);
    }

    private String scripted(String name, Runnable body) {
        scene.trail.note(name);
        String outcome;
        Throwable thrown = null;
        try {
            scene.rank.device().makeCurrent();
            scene.group().bindToCurrentThread();
            // What a half reads again must not change before it is done: contents are their owner's concern.
            scene.completeAll(scene.group());
            body.run();
            outcome = "ok";
        } catch (RuntimeException e) {
            thrown = e;
            outcome = scene.trail.outcome(name, e, false);
            scene.forgetRouting();
        }
        sequence.statistics().scripted(name, outcome, thrown);
        return outcome;
    }

    /** Whether all ranks came to the same; false if a fault has made them differ. */
    private boolean agree(int action, String outcome) {
        List<String> all = new ArrayList<>();
        try {
            for (byte[] told : rank.bootstrap().allGather(outcome.getBytes(StandardCharsets.UTF_8))) {
                all.add(new String(told, StandardCharsets.UTF_8));
            }
        } catch (RuntimeException e) {
            if (sequence.isFaulted()) {
                return false;
            }
            throw scene.trail.failure("action " + action + ": rank " + rank.rank() + " lost the others", e);
        }
        boolean same = all.stream().distinct().count() == 1;
        if (!same && !sequence.isFaulted()) {
            throw scene.trail.failure("action " + action + ": the ranks differ: " + all, null);
        }
        return same && !sequence.isBroken();
    }

    /** Out of step: each rank for itself, with what is left. */
    private void aftermath() {
        SplittableRandom own = new SplittableRandom(sequence.seed() + 1 + rank.rank());
        int count = 10 + own.nextInt(20);
        for (int i = 0; i < count; i++) {
            calls.call("afterwards: ");
        }
    }

    /** Closes everything, in as many rounds as the ownership tree is deep; groups while their device is current. */
    private void tearDown() {
        List<RuntimeException> refusals = new ArrayList<>();
        List<AutoCloseable> open = scene.open();
        open.stream().filter(EpGroup.class::isInstance).map(EpGroup.class::cast).forEach(this::prepareToClose);
        int before = -1;
        while (!open.isEmpty() && open.size() != before) {
            before = open.size();
            refusals.clear();
            for (CudaDevice device : List.of(scene.foreign, rank.device())) {
                device.makeCurrent();
                open.removeIf(resource -> isGone(resource, refusals));
            }
        }
        if (!open.isEmpty()) {
            throw scene.trail.failure("cannot be closed: " + open + ": " + refusals, refusals.getFirst());
        }
        scene.last().forEach(resource -> isGone(resource, refusals));
    }

    private void prepareToClose(EpGroup bound) {
        try {
            if (!bound.isClosed()) {
                bound.bindToCurrentThread();
            }
            scene.completeAll(bound);
        } catch (RuntimeException e) {
            scene.trail.outcome("complete before the end", e, false);
        }
    }

    private boolean isGone(AutoCloseable resource, List<RuntimeException> refusals) {
        try {
            resource.close();
            return true;
        } catch (IllegalStateException e) {
            refusals.add(e);
            return resource instanceof NativeObject closed && closed.isClosed();
        } catch (Exception e) {
            scene.trail.outcome("close of " + resource, e, false);
            return true;
        }
    }
}
