package io.nccl4j.examples.interop;

import io.nccl4j.nccl.UniqueId;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.Map;

/** NCCL's unique id in a file that all ranks of a job see, whatever their language. */
record IdFile(Path file) {
    /** The file of this start of a job of torchrun. */
    static IdFile of(Path folder, Map<String, String> environment) {
        String run = environment.getOrDefault("TORCHELASTIC_RUN_ID", "none");
        if (run.equals("none")) { // torchrun's word for an id that was not given
            throw new IllegalStateException("jobs are told apart by their id: torchrun --rdzv_id=<one of its own>");
        }
        return new IdFile(
                folder.resolve("nccl-id-" + run + "-" + environment.getOrDefault("TORCHELASTIC_RESTART_COUNT", "0")));
    }

    /** Rank 0: renamed into place, so that nobody reads a part; readable by this user alone. */
    UniqueId publish() throws IOException {
        UniqueId id = UniqueId.create();
        Path partial = file.resolveSibling(file.getFileName() + ".partial");
        Files.deleteIfExists(partial);
        Files.createFile(partial, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
        Files.write(partial, id.toBytes());
        Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        return id;
    }

    /** The others. */
    UniqueId await(Duration limit) throws IOException, InterruptedException {
        long end = System.nanoTime() + limit.toNanos();
        while (!Files.exists(file)) {
            if (System.nanoTime() - end > 0) {
                throw new IllegalStateException("rank 0 has not written " + file + " in " + limit.toSeconds() + " s");
            }
            Thread.sleep(10);
        }
        return UniqueId.of(Files.readAllBytes(file));
    }

    /** Rank 0, when the communicator is there: all have read it. */
    void delete() throws IOException {
        Files.deleteIfExists(file);
    }
}
