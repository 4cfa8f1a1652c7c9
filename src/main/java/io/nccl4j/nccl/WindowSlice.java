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

    /** {@return the window that it is a part of} */
    public Window window() {
        return window;
    }

    /** {@return where it starts in the window, in bytes} */
    public long offset() {
        return offset;
    }

    /** {@return its size in bytes} */
    public long byteSize() {
        return byteSize;
    }

    /**
     * {@return where it starts on this rank's device}
     *
     * @throws IllegalStateException if the window is closed
     */
    public long address() {
        window.address();
        return window.memory().address() + offset;
    }

    /**
     * {@return a part of this part; the offset counts from its start}
     *
     * @param offsetBytes where it starts, in bytes
     * @param bytes number of bytes
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
