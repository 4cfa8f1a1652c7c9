package io.nccl4j.nccl;

/**
 * A range of a {@link Window}, made by {@link Window#slice}. Owns nothing: usable as long as the window is open.
 */
public final class WindowSlice {
    private final Window window;
    private final long offset;
    private final long byteSize;

    WindowSlice(Window window, long offset, long byteSize) {
        this.window = window;
        this.offset = offset;
        this.byteSize = byteSize;
    }

    /** The window that it is a part of. */
    public Window window() {
        return window;
    }

    /** Where it starts in the window, in bytes. */
    public long offset() {
        return offset;
    }

    /** Its size in bytes. */
    public long byteSize() {
        return byteSize;
    }

    /**
     * Where it starts on this rank's device.
     *
     * @throws IllegalStateException if the window is closed
     */
    public long address() {
        window.address();
        return window.memory().address() + offset;
    }

    /**
     * A part of this part; the offset counts from its start.
     *
     * @throws IllegalArgumentException if the range is not inside of this part
     * @throws IllegalStateException if the window is closed
     */
    public WindowSlice slice(long offsetBytes, long bytes) {
        if (offsetBytes < 0 || bytes < 1 || offsetBytes > byteSize - bytes) {
            throw new IllegalArgumentException(
                    "range of " + bytes + " bytes from " + offsetBytes + " is outside of " + this);
        }
        return window.slice(offset + offsetBytes, bytes);
    }

    @Override
    public String toString() {
        return byteSize + " bytes from " + offset + " of " + window;
    }
}
