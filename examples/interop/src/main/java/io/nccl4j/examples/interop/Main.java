package io.nccl4j.examples.interop;

import io.nccl4j.NativeLibraries;
import io.nccl4j.bootstrap.Bootstraps;
import io.nccl4j.cuda.CudaDevice;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.EpGroupConfig;
import io.nccl4j.ep.EpHandle;
import io.nccl4j.ep.Layout;
import io.nccl4j.nccl.Bootstrap;
import io.nccl4j.nccl.Communicator;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * {@code java -jar interop.jar [javacpp] [jcuda] [own-context]}: checks on one or two devices of this machine, and
 * prints a line that begins with PASS for each; ends with 1 after a failure.
 */
public final class Main {
    private record Check(String name, Consumer<Exchange> body) {
    }

    private static final List<Check> CHECKS = List.of(
            new Check("tensors in its memory, on its stream", Exchange::theirMemoryAndStream),
            new Check("buffers from its allocator, on its stream", Exchange::theirAllocator),
            new Check("our buffers and stream, used by it", Exchange::ourMemoryAndStream));

    private Main() {
    }

    public static void main(String[] args) throws IOException, InterruptedException {
        List<String> parts = args.length == 0 ? List.of("javacpp", "jcuda", "own-context") : List.of(args);
        System.out.println(NativeLibraries.describe());
        JavaCppLibrary.useCudaOfNccl4j();
        boolean good = true;
        for (String part : parts) {
            try {
                switch (part) {
                    case "javacpp" -> good &= check(new JavaCppLibrary());
                    case "jcuda" -> good &= check(new JCudaLibrary());
                    case "own-context" -> OwnContext.tell();
                    default -> throw new IllegalArgumentException("not javacpp, jcuda or own-context");
                }
            } catch (RuntimeException | LinkageError e) {
                System.out.println("FAIL " + part + ": " + e);
                good = false;
            }
        }
        tellCopies();
        System.exit(good ? 0 : 1);
    }

    /** Two copies of the CUDA runtime are one too many. */
    private static void tellCopies() throws IOException {
        Pattern file = Pattern.compile("/.*/lib(cudart|nccl|nccl_ep)\\.so.*");
        System.out.println("INFO loaded: " + Files.readString(Path.of("/proc/self/maps")).lines().map(file::matcher)
                .filter(Matcher::find).map(Matcher::group).distinct().toList());
    }

    private static boolean check(OtherLibrary library) throws InterruptedException {
        System.out.println(library.describe());
        int ranks = Math.min(2, CudaDevice.count());
        Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
        List<Thread> threads = new ArrayList<>();
        for (Bootstrap bootstrap : Bootstraps.inProcess(ranks)) {
            threads.add(Thread.ofPlatform().name("rank " + bootstrap.rank()).start(() -> {
                try (bootstrap) {
                    run(library, bootstrap);
                } catch (RuntimeException | Error e) {
                    failures.add(e);
                    e.printStackTrace();
                }
            }));
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println((failures.isEmpty() ? "PASS " : "FAIL ") + library.describe() + ", ranks: " + ranks);
        return failures.isEmpty();
    }

    private static void run(OtherLibrary library, Bootstrap bootstrap) {
        EpGroupConfig config = EpGroupConfig.lowLatency().experts(Rows.EXPERTS).maxTokensPerRank(Rows.TOKENS)
                .maxTokenBytes(Rows.HIDDEN * Float.BYTES).layout(Layout.EXPERT_MAJOR).topK(Rows.TOP_K);
        library.useDevice(bootstrap.device().ordinal());
        try (Communicator communicator = Communicator.init(bootstrap, bootstrap.device());
                EpGroup group = EpGroup.create(communicator, config);
                EpHandle handle = group.createHandle()) {
            Exchange exchange = new Exchange(library, group, handle, new Rows(bootstrap.rank(), bootstrap.size()));
            for (Check check : CHECKS) {
                check.body().accept(exchange);
                bootstrap.barrier();
                if (bootstrap.rank() == 0) {
                    System.out.println("PASS " + check.name());
                }
            }
        }
    }
}
