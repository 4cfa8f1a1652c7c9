package io.nccl4j.internal;

import io.nccl4j.NativeObject;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The part of a {@link NativeObject} that outlives it: its place in the ownership tree. Holders (children, and graphs
 * that captured its use) keep it from being closed. Does not refer to the resource, so that a leaked one can be
 * collected and reported while its parents still know of it.
 */
final class ResourceNode implements Runnable {
    enum State {
        OPEN, CLOSING, CLOSED
    }

    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.leak");
    private static final AtomicLong NUMBERS = new AtomicLong();
    /** One lock for the whole tree: it changes seldom, and never with a native call inside. */
    private static final Object TREE = new Object();

    private final String label;
    private final String site;
    private final Set<ResourceNode> holders = new LinkedHashSet<>();
    private final List<ResourceNode> held = new ArrayList<>();
    private State state = State.OPEN;

    ResourceNode(String kind) {
        this.label = kind + "#" + NUMBERS.incrementAndGet();
        this.site = CreationSite.find();
    }

    String label() {
        return label;
    }

    /** Makes this node a holder of {@code other}: {@code other} cannot be closed before this one. */
    void hold(ResourceNode other) {
        synchronized (TREE) {
            if (other.state != State.OPEN) {
                throw other.closed();
            }
            if (other != this && other.holders.add(this)) {
                held.add(other);
            }
        }
    }

    boolean isClosed() {
        synchronized (TREE) {
            return state != State.OPEN;
        }
    }

    IllegalStateException closed() {
        return new IllegalStateException(label + " is closed (it was created at " + site + ")");
    }

    /** Whether the caller is the one to close it; false if that was done or is being done. */
    boolean beginClose() {
        synchronized (TREE) {
            if (state != State.OPEN) {
                return false;
            }
            if (!holders.isEmpty()) {
                throw inUse(holders);
            }
            state = State.CLOSING;
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
        StringBuilder text = new StringBuilder(label).append(" cannot be closed while it is in use by ");
        String separator = "";
        for (ResourceNode holder : by) {
            text.append(separator).append(holder.label).append(" (created at ").append(holder.site).append(')');
            separator = ", ";
        }
        return new IllegalStateException(text.append(": close those first").toString());
    }

    void endClose() {
        synchronized (TREE) {
            state = State.CLOSED;
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
            if (state == State.CLOSED) {
                return;
            }
        }
        LOG.warn("{} was never closed; its native object leaks. Created at {}", label, site);
        LeakCount.add();
    }

    @Override
    public String toString() {
        return label + (isClosed() ? " (closed)" : "");
    }
}
