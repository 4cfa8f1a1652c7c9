package io.nccl4j.bootstrap;

import io.nccl4j.nccl.Departure;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Ranks that share a folder: values and departures are files in a folder below, of the session. A thread of this store
 * does everything with files, so that no file system keeps a caller beyond its limit, and no interrupt breaks a write.
 */
final class FolderStore extends Store {
    private static final Logger LOG = LoggerFactory.getLogger(FolderStore.class);
    private static final long SHORTEST_PAUSE = TimeUnit.MICROSECONDS.toNanos(500);
    private static final long LONGEST_PAUSE = TimeUnit.MILLISECONDS.toNanos(20);
    private static final long IDLE_PAUSE = TimeUnit.MILLISECONDS.toNanos(200);
    private static final String VALUE = "value-";
    private static final String LEFT = "left-";
    private static final String FAILED = "failed-";
    private static final int MAX_REASON_BYTES = 1 << 16;

    private final SignedFiles files;
    private final FolderMembers members;
    private final Thread thread;
    private @Nullable SignedFiles session;
    private long undeleted;
    private long nextCheck;
    /** Guarded by the lock, like the next ones. */
    private final TreeMap<Long, byte[]> unwritten = new TreeMap<>();
    private boolean @Nullable [] present;
    private @Nullable Departure departure;

    private FolderStore(int rank, int size, SignedFiles files, Secret secret) {
        super(rank, size, new Object());
        this.files = files;
        this.members = new FolderMembers(files, secret, rank, size);
        this.present = new boolean[size];
        this.thread = Thread.ofPlatform().daemon().name("nccl4j bootstrap " + rank).unstarted(this::run);
    }

    static FolderStore join(Path folder, int rank, int size, BootstrapOptions options) {
        checkRank(rank, size);
        try {
            SignedFiles files = SignedFiles.in(folder, options.key(), options.hasSecret());
            FolderStore store = new FolderStore(rank, size, files, options.key());
            store.thread.start();
            return store;
        } catch (IOException e) {
            throw new IllegalStateException("rank " + rank + " cannot meet others in " + folder + ": " + e.getMessage(),
                    e);
        }
    }

    @Override
    void publish(long key, byte[] value) {
        unwritten.put(key, value);
    }

    @Override
    void publishDeparture(Departure how) {
        departure = how;
    }

    @Override
    void release() {
        join(thread, System.nanoTime() + LEAVE_NANOS);
    }

    @Override
    String missing(long key) {
        synchronized (lock) {
            boolean[] seen = present;
            return seen == null ? super.missing(key) : RankSet.describe(size, other -> other != rank && !seen[other]);
        }
    }

    private void run() {
        try {
            members.join();
            long pause = SHORTEST_PAUSE;
            while (true) {
                boolean news = work();
                synchronized (lock) {
                    if (departure != null) {
                        break;
                    }
                    pause = news ? SHORTEST_PAUSE : Math.min(2 * pause, isAwaited() ? LONGEST_PAUSE : IDLE_PAUSE);
                    if (unwritten.isEmpty() || session == null) {
                        TimeUnit.NANOSECONDS.timedWait(lock, pause);
                    }
                }
            }
        } catch (IllegalStateException e) {
            fail(e.getMessage());
        } catch (IOException | RuntimeException | InterruptedException e) {
            fail("rank " + rank + " cannot use " + files + ": " + e);
        }
        try {
            leaveFolder();
        } catch (IOException e) {
            // They do no harm: the next job finds that their processes have ended.
            LOG.warn("files of rank {} stay in {}: {}", rank, files, e.toString());
        }
    }

    private void fail(String reason) {
        synchronized (lock) {
            end(reason);
        }
    }

    /** Looks once; whether something has changed. */
    private boolean work() throws IOException {
        SignedFiles open = session;
        if (open != null) {
            return writeValues(open) | look(open);
        }
        boolean all = members.gather();
        if (all) {
            session = files.below(members.session());
            deleteFormerSessions();
        }
        synchronized (lock) {
            boolean[] before = present;
            present = all ? null : members.present();
            return !Arrays.equals(before, present);
        }
    }

    private void deleteFormerSessions() throws IOException {
        for (String former : files.names(members.prefix("session"))) {
            if (rank == 0 && !former.equals(members.session())) {
                try {
                    files.deleteFolder(former);
                } catch (IOException e) {
                    LOG.debug("{} stays in {}", former, files, e);
                }
            }
        }
    }

    private boolean writeValues(SignedFiles open) throws IOException {
        Map<Long, byte[]> now;
        long first;
        synchronized (lock) {
            now = Map.copyOf(unwritten);
            unwritten.clear();
            first = firstKey();
        }
        for (Map.Entry<Long, byte[]> one : now.entrySet()) {
            open.write(VALUE + one.getKey() + "-" + rank, one.getValue());
        }
        for (; undeleted < first; undeleted++) {
            open.delete(VALUE + undeleted + "-" + rank);
        }
        return !now.isEmpty();
    }

    private boolean look(SignedFiles open) throws IOException {
        Map<Integer, Departure> departed = new HashMap<>();
        if (System.nanoTime() - nextCheck >= 0) {
            members.keep();
            for (int other = 0; other < size; other++) {
                String how = members.ended(other);
                if (how != null) {
                    departed.put(other, new Departure(true, how));
                }
            }
            nextCheck = System.nanoTime() + IDLE_PAUSE;
        }
        for (String name : open.names("")) {
            readDeparture(open, name, departed);
        }
        // Listed again: whoever has gone may have taken values that came during the first look.
        boolean news = false;
        for (String name : open.names(VALUE)) {
            news |= readValue(open, name);
        }
        synchronized (lock) {
            departed.forEach(this::addGone);
        }
        return news;
    }

    private void readDeparture(SignedFiles open, String name, Map<Integer, Departure> departed) throws IOException {
        boolean failed = name.startsWith(FAILED);
        if (failed || name.startsWith(LEFT)) {
            int other = (int) number(name.substring(name.indexOf('-') + 1));
            byte[] how = isOther(other) && !gone().containsKey(other) ? open.read(name, MAX_REASON_BYTES) : null;
            if (how != null) {
                departed.put(other, new Departure(failed, new String(how, StandardCharsets.UTF_8)));
            }
        }
    }

    private boolean readValue(SignedFiles open, String name) throws IOException {
        int border = name.lastIndexOf('-');
        int other = (int) number(name.substring(border + 1));
        long key = border < VALUE.length() ? -1 : number(name.substring(VALUE.length(), border));
        if (!isOther(other) || key < 0 || !lacks(other, key)) {
            return false;
        }
        byte[] value = open.read(name, MAX_BYTES);
        synchronized (lock) {
            return value != null && add(other, key, value);
        }
    }

    private boolean isOther(int other) {
        return other >= 0 && other < size && other != rank;
    }

    /** -1 if it is none: anybody may have put a file there. */
    private static long number(String text) {
        return text.matches("[0-9]{1,18}") ? Long.parseLong(text) : -1;
    }

    /** The last one to leave removes what the session has written. */
    private void leaveFolder() throws IOException {
        Departure how;
        synchronized (lock) {
            how = departure == null ? new Departure(false, "has given up") : departure;
        }
        SignedFiles open = session;
        if (open != null) {
            writeValues(open);
            byte[] reason = how.how().getBytes(StandardCharsets.UTF_8);
            open.write((how.lost() ? FAILED : LEFT) + rank,
                    Arrays.copyOf(reason, Math.min(reason.length, MAX_REASON_BYTES)));
        }
        members.leave();
        if (open != null && isLast(open)) {
            files.deleteFolder(members.session());
        }
    }

    private boolean isLast(SignedFiles open) throws IOException {
        for (int other = 0; other < size; other++) {
            if (open.read(LEFT + other, MAX_REASON_BYTES) == null && open.read(FAILED + other, MAX_REASON_BYTES) == null
                    && members.ended(other) == null) {
                return false;
            }
        }
        return true;
    }

    @Override
    public String toString() {
        return "in " + files;
    }
}
