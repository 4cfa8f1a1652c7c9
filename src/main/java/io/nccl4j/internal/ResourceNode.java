package io.nccl4j.internal;

import io.nccl4j.NativeObject;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The part of a {@link NativeObject} that outlives it: its place in the ownership tree. Holders (children, and graphs
 * that captured its use) keep it from being closed. Does not refer to the resource, so that a leaked one can be
 * collected and reported while its parents still know of it.
 */
final class ResourceNode implements Runnable {
    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.leak");
    private static final AtomicLong NUMBERS = new AtomicLong();
    private static final AtomicLong LEAKS = new AtomicLong();
    /** One lock for the whole tree: it changes seldom, and never with a native call inside. */
    private static final Object TREE = new Object();

    private final String label;
    /** Its stack, read when somebody asks: to walk it takes as long as to create a native handle. */
    private final Throwable creation = new Throwable();
    private final Set<ResourceNode> holders = new LinkedHashSet<>();
    private final List<ResourceNode> held = new ArrayList<>();
    private boolean closed;

    ResourceNode(String kind) {
        this.label = kind + "#" + NUMBERS.incrementAndGet();
    }

    /** Where user code created it: the first frame outside of nccl4j. */
    private String site() {
        return Arrays.stream(creation.getStackTrace()).filter(frame -> !isOurs(frame.getClassName())).findFirst()
                .map(StackTraceElement::toString).orElse("unknown");
    }

    private static boolean isOurs(String name) {
        return name.equals("io.nccl4j.NativeObject") || name.startsWith("io.nccl4j.internal.")
                || name.startsWith("io.nccl4j.cuda.") || name.startsWith("io.nccl4j.nccl.")
                || name.startsWith("io.nccl4j.ep.");
    }

    /** How many resources were collected without having been closed. */
    static long leaks() {
        return LEAKS.get();
    }

    String label() {
        return label;
    }

    /** Makes this node a holder of {@code other}: {@code other} cannot be closed before this one. */
    void hold(ResourceNode other) {
        synchronized (TREE) {
            if (other.closed) {
                throw other.useAfterClose();
            }
            if (other != this && other.holders.add(this)) {
                held.add(other);
            }
        }
    }

    IllegalStateException useAfterClose() {
        return new IllegalStateException(label + " is closed (it was created at " + site() + ")");
    }

    /** Whether the caller is the one to close it; false if that was done or is being done. */
    boolean beginClose() {
        synchronized (TREE) {
            if (closed) {
                return false;
            }
            if (!holders.isEmpty()) {
                throw inUse(holders);
            }
            closed = true;
            return true;
        }
    }

    /** Refuses, as closing this would, because of holders that are not {@code among} the given ones. */
    void checkHolders(Set<ResourceNode> among) {
        synchronized (TREE) {
            List<ResourceNode> others = holders.stream().filter(holder -> !among.contains(holder)).toList();
            if (!others.isEmpty()) {
                throw inUse(others);
            }
        }
    }

    private IllegalStateException inUse(Collection<ResourceNode> by) {
        return new IllegalStateException(label + " cannot be closed while it is in use by " + by.stream()
                .map(holder -> holder.label + " (created at " + holder.site() + ")").collect(Collectors.joining(", "))
                + ": close those first");
    }

    void endClose() {
        synchronized (TREE) {
            closed = true;
            for (ResourceNode other : held) {
                other.holders.remove(this);
            }
            held.clear();
        }
    }

    /** The resource was collected: says so if nobody closed it. Its native object stays, and so do its holds. */
    @Override
    public void run() {
        synchronized (TREE) {
            if (closed) {
                return;
            }
        }
        LOG.warn("{} was never closed; its native object leaks. Created at {}", label, site());
        LEAKS.incrementAndGet();
    }
}
