package io.nccl4j.cuda;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** What an executable did before an update. Launches that were made until then may still do it. */
final class SupersededContents {
    private final GraphContents contents;
    private final CudaDevice device;
    /** Behind those launches; null if they could not be marked yet. */
    private @Nullable List<CudaEvent> marks;

    SupersededContents(GraphContents contents, CudaDevice device) {
        this.contents = contents;
        this.device = device;
        this.marks = device.markEnqueued();
    }

    /** Whether the device has done all that it may have to do of it. */
    boolean isOver() {
        if (marks == null) {
            marks = device.markEnqueued();
        }
        if (marks == null) {
            return false;
        }
        for (CudaEvent mark : marks) {
            if (!mark.isComplete()) {
                return false;
            }
        }
        return true;
    }

    void closeMarks() {
        if (marks != null) {
            marks.forEach(CudaEvent::close);
        }
    }

    void release() {
        contents.release();
    }
}
