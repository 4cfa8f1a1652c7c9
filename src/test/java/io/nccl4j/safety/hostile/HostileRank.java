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
    private final List<Script> scripts;

    /**
     * Calls in an order that makes sense.
     *
     * @param weight of 107
     * @param timed whether what comes of it is a matter of time
     */
    private record Script(int weight, String name, boolean timed, Runnable body) {
    }

    HostileRank(HostileSequence sequence, EmulatedRank rank, Arena arena) {
        this.sequence = sequence;
        this.rank = rank;
        this.scene = new HostileScene(sequence, rank);
        this.calls = new RandomCalls(scene, arena);
        this.right = new RightCalls(scene, calls);
        this.specials = new HostileSpecials(scene, calls);
        this.situations = new HostileSituations(scene, calls, right, specials);
        this.scripts = List.of(script(7, "step", right::step), script(5, "capture", right::capture),
                script(6, "replay", right::replay), script(3, "staged", right::staged),
                script(3, "explicit", right::explicit), script(2, "cache", right::cache),
                script(2, "pool", right::handlePool), script(2, "ring", specials::ring),
                script(1, "foreign", specials::foreign), script(1, "adopted", specials::adopted),
                script(1, "short life", specials::shortLife), script(1, "bootstraps", specials::bootstraps),
                script(3, "close", specials::closeSomething), script(3, "renew", specials::renew),
                script(1, "reset", situations::reset), script(1, "full device", situations::fullDevice),
                script(1, "close during a capture", situations::closeWhileAnotherCaptures),
                script(1, "interrupted", situations::interrupted),
                new Script(1, "interrupted step", true, situations::interruptedStep),
                script(1, "virtual thread", situations::virtual), script(1, "unaligned", situations::unaligned));
    }

    /** The whole sequence on this rank. */
    void run() {
        boolean inStep = true;
        for (int action = 0; action < sequence.options.actions() && inStep; action++) {
            sequence.statistics.action();
            if (action == sequence.faultAt) {
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
        if (chosen < 60) {
            return chosen < 55 ? calls.call("") : calls.callOnAnotherThread();
        }
        chosen -= 60;
        for (Script script : scripts) {
            chosen -= script.weight;
            if (chosen < 0) {
                String outcome = scripted(script.name, script.body);
                return script.timed ? HostileSequence.TIMED : outcome;
            }
        }
        throw new AssertionError("the weights do not add up");
    }

    private static Script script(int weight, String name, Runnable body) {
        return new Script(weight, name, false, body);
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
        sequence.statistics.scripted(name, outcome, thrown);
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
        SplittableRandom own = new SplittableRandom(sequence.seed + 1 + rank.rank());
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
