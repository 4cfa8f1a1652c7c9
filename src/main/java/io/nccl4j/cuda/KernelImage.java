package io.nccl4j.cuda;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * An image that {@code cudaLibraryLoadData} takes. It is given no length and believes the headers, so a truncated image
 * would have it read beyond the end.
 */
final class KernelImage {
    private static final int FATBIN_MAGIC = 0xBA55_ED50;
    private static final int FATBIN_HEADER = 16;
    private static final int ELF_MAGIC = 0x464C_457F;
    private static final int ELF_HEADER = 64;

    private KernelImage() {
    }

    /** @throws IllegalArgumentException if it is no complete cubin, fatbin or PTX text */
    static void check(byte[] image) {
        ByteBuffer bytes = ByteBuffer.wrap(image).order(ByteOrder.LITTLE_ENDIAN);
        int magic = image.length >= Integer.BYTES ? bytes.getInt(0) : 0;
        if (magic == FATBIN_MAGIC && image.length >= FATBIN_HEADER) {
            checkFatbin(bytes);
        } else if (magic == ELF_MAGIC && image.length >= ELF_HEADER) {
            checkCubin(bytes);
        } else if (!new String(image, StandardCharsets.ISO_8859_1).contains(".version")) {
            throw new IllegalArgumentException("an image of " + image.length
                    + " bytes is no cubin, fatbin or PTX text; nvcc makes them with -cubin, -fatbin, -ptx");
        }
    }

    /** Parts follow each other, each with a header that says how long header and part are. */
    private static void checkFatbin(ByteBuffer bytes) {
        long header = Short.toUnsignedLong(bytes.getShort(6));
        checkEnd("fatbin", header, bytes.getLong(8), bytes);
    }

    private static void checkCubin(ByteBuffer bytes) {
        long sections = bytes.getLong(40);
        int sectionBytes = Short.toUnsignedInt(bytes.getShort(58));
        int count = Short.toUnsignedInt(bytes.getShort(60));
        checkEnd("cubin", sections, (long) sectionBytes * count, bytes);
        int noBits = 8;
        for (int i = 0; i < count && sectionBytes >= 64; i++) {
            int section = Math.toIntExact(sections) + i * sectionBytes;
            if (bytes.getInt(section + 4) != noBits) {
                checkEnd("cubin", bytes.getLong(section + 24), bytes.getLong(section + 32), bytes);
            }
        }
        checkEnd("cubin", bytes.getLong(32),
                (long) Short.toUnsignedInt(bytes.getShort(54)) * Short.toUnsignedInt(bytes.getShort(56)), bytes);
    }

    private static void checkEnd(String kind, long start, long length, ByteBuffer bytes) {
        if (start < 0 || length < 0 || start > bytes.limit() - length) {
            throw new IllegalArgumentException("a " + kind + " of " + bytes.limit()
                    + " bytes is not complete: its header speaks of " + length + " bytes from " + start);
        }
    }
}
