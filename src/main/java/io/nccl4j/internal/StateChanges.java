package io.nccl4j.internal;

import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.List;

/**
 * What seldom happens and may make a call wrong that was right before: something was closed or has failed, a capture began or ended, a
 * recording was started. Whoever has checked a call and wants to repeat it without a look is told of the next change, so that the hot
 * path asks nobody.
 */
public final class StateChanges {
    /** Repeats what it has checked until it is told. Being told does not keep it from being collected. */
    public abstract static class Observer {
        private final WeakReference<Observer> self = new WeakReference<>(this);
        private boolean waiting;

        /** Something has changed: check again. Called by any thread, with a lock held: to do no more than to remember that. */
        protected abstract void stateChanged();
    }

    private static final List<WeakReference<Observer>> WAITING = new ArrayList<>();
    private static volatile int count;

    private StateChanges() {
    }

    /** How many there were so far; take it before checking. */
    public static int count() {
        return count;
    }

    /** To be called after the change. */
    public static void add() {
        synchronized (WAITING) {
            // No iterator: some changes are those of a step.
            for (int i = 0; i < WAITING.size(); i++) {
                Observer observer = WAITING.get(i).get();
                if (observer != null) {
                    observer.waiting = false;
                    observer.stateChanged();
                }
            }
            WAITING.clear();
            // Last: who sees the new count has been told.
            count++;
        }
    }

    /**
     * Tells once, with the next change: now, if there was one since the observer began to check.
     *
     * @param before {@link #count()} at that time
     */
    public static void tellNext(Observer observer, int before) {
        synchronized (WAITING) {
            if (count != before) {
                observer.stateChanged();
            } else if (!observer.waiting) {
                observer.waiting = true;
                WAITING.add(observer.self);
            }
        }
    }
}
