package io.nccl4j.safety.hostile;

import io.nccl4j.cuda.CaptureMode;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.cuda.CudaStream;
import io.nccl4j.cuda.DeviceMemory;
import io.nccl4j.ep.DispatchInputs;
import io.nccl4j.ep.DispatchOutputs;
import io.nccl4j.ep.EpBuffers;
import io.nccl4j.ep.EpTensor;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import io.nccl4j.testing.LayerKind;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/** Calls that are right or wrong, but at a bad time: interrupted, on a full device, during another's capture. */
final class HostileSituations {
    private static final long[] RESTS = {0, 512, 1 << 16};
    private static final int[] OFFSETS = {1, 2, 4, 8};
    private static final long LIMIT_SECONDS = 40;

    private final HostileScene scene;
    private final RandomCalls calls;
    private final RightCalls right;
    private final HostileSpecials specials;
    private boolean filled;

    HostileSituations(HostileScene scene, RandomCalls calls, RightCalls right, HostileSpecials specials) {
        this.scene = scene;
        this.calls = calls;
        this.right = right;
        this.specials = specials;
    }

    /** The device that has nothing collective on it is reset; what was made there before is used all the same. */
    void reset() {
        if (scene.pool.closeables().stream().anyMatch(open -> open instanceof Communicator communicator
                && !communicator.isClosed() && communicator.device() == scene.foreign)) {
            // It is given up with the device.
            scene.sequence.expectLeaks();
        }
        scene.foreign.reset();
        for (int i = 0; i < 3; i++) {
            calls.call("after a reset: ");
        }
    }

    /** Once in a sequence, since what is taken is poisoned, which takes time. */
    void fullDevice() {
        CudaDevice device = scene.random.nextInt(4) == 0 ? scene.foreign : scene.rank.device();
        long rest = RESTS[scene.random.nextInt(RESTS.length)];
        int kind = scene.random.nextInt(3);
        long free = device.memoryInfo().freeBytes() - rest;
        if (filled || free <= 0) {
            return;
        }
        filled = true;
        try (DeviceMemory taken = scene.closeLate(DeviceMemory.allocate(device, free))) {
            scene.trail.note("full but for " + rest + " bytes: " + taken);
            if (kind == 0) {
                right.step();
            } else if (kind == 1) {
                right.cache();
            } else {
                calls.call("on a full device: ");
            }
        }
    }

    /**
     * Something is closed while another thread captures so that no other may: all ranks at that time. Not after a
     * fault, which may keep a rank from coming here, and the capture would go on while that rank closes everything.
     */
    void closeWhileAnotherCaptures() {
        if (scene.sequence.isFaulted()) {
            return;
        }
        Bootstrap others = scene.rank.bootstrap();
        CountDownLatch capturing = new CountDownLatch(1);
        CountDownLatch done = new CountDownLatch(1);
        others.barrier();
        FutureTask<@Nullable Void> capture = new FutureTask<>(() -> capture(capturing, done), null);
        if (scene.rank.rank() == 0) {
            Thread.ofPlatform().start(capture);
            await(capturing);
        }
        others.barrier();
        try {
            specials.closeSomething();
        } finally {
            others.barrier();
            done.countDown();
            if (scene.rank.rank() == 0) {
                join(capture);
            }
            others.barrier();
        }
    }

    private void capture(CountDownLatch capturing, CountDownLatch done) {
        try (CudaStream stream = CudaStream.create(scene.rank.device())) {
            stream.capture(CaptureMode.GLOBAL, () -> {
                capturing.countDown();
                await(done);
            }).close();
        } finally {
            capturing.countDown();
        }
    }

    private static void await(CountDownLatch latch) {
        try {
            if (!latch.await(LIMIT_SECONDS, TimeUnit.SECONDS)) {
                throw new IllegalStateException("another thread is not done after " + LIMIT_SECONDS + " s");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    private void join(FutureTask<?> task) {
        try {
            task.get(LIMIT_SECONDS, TimeUnit.SECONDS);
        } catch (ExecutionException e) {
            if (!scene.sequence.isFaulted()) {
                throw scene.trail.failure("the other thread's capture", e.getCause());
            }
        } catch (Exception e) {
            throw scene.trail.failure("the other thread's capture", e);
        }
    }

    /** Any call while the interrupt flag is set. */
    void interrupted() {
        whileInterrupted(() -> {
            Thread.currentThread().interrupt();
            calls.call("interrupted: ");
        });
    }

    /** A step that is interrupted at any point; what comes of it is a matter of time. */
    void interruptedStep() {
        long after = 1_000L * scene.random.nextInt(3000);
        Thread victim = Thread.currentThread();
        FutureTask<@Nullable Void> interrupter = new FutureTask<>(() -> {
            LockSupport.parkNanos(after);
            victim.interrupt();
        }, null);
        whileInterrupted(() -> {
            Thread.ofPlatform().start(interrupter);
            try {
                right.step();
            } finally {
                Thread.interrupted();
                awaitInterrupter(interrupter);
            }
        });
    }

    private static void awaitInterrupter(FutureTask<?> interrupter) {
        while (!interrupter.isDone()) {
            LockSupport.parkNanos(100_000);
            Thread.interrupted();
        }
    }

    /** Afterwards the flag is not set, and nothing is in flight that the next action would disturb. */
    private void whileInterrupted(Runnable body) {
        try {
            body.run();
        } finally {
            Thread.interrupted();
            scene.stream.awaitUninterruptibly(HostileScene.LIMIT);
        }
    }

    /** A call on a virtual thread. */
    void virtual() {
        FutureTask<@Nullable Void> task = new FutureTask<>(() -> {
            calls.call("on a virtual thread: ");
        }, null);
        Thread.ofVirtual().start(task);
        try {
            task.get(LIMIT_SECONDS, TimeUnit.SECONDS);
        } catch (ExecutionException e) {
            throw e.getCause() instanceof RuntimeException failure ? failure : new IllegalStateException(e.getCause());
        } catch (Exception e) {
            throw scene.trail.failure("a call on a virtual thread does not end", e);
        }
    }

    /** A tensor of the layer's, at an address that the device cannot read as such. */
    void unaligned() {
        EpBuffers buffers = scene.layer().buffers();
        int offset = OFFSETS[scene.random.nextInt(OFFSETS.length)];
        boolean routes = scene.random.nextBoolean();
        EpTensor right = routes ? buffers.routing() : buffers.tokens();
        DeviceMemory memory = scene
                .closeLate(DeviceMemory.allocate(scene.rank.device(), right.memory().byteSize() + 16));
        scene.clear(memory);
        DeviceMemory slice = scene.closeLate(memory.slice(offset, right.memory().byteSize()));
        EpTensor wrong = EpTensor.of(slice, right.type(), right.shape());
        if (routes) {
            buffers.handle().update(wrong, scene.stream);
        } else {
            buffers.handle().update(buffers.routing(), scene.stream);
            boolean zones = scene.shape == LayerKind.LL_EXPERT_MAJOR;
            buffers.handle().dispatch(DispatchInputs.of(wrong, zones ? null : buffers.weights()),
                    DispatchOutputs.of(buffers.received(), zones ? null : buffers.receivedWeights(),
                            scene.shape.layout() == Layout.EXPERT_MAJOR ? null : buffers.receivedIndices()),
                    null, scene.stream);
        }
    }
}
