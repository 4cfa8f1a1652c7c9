package io.nccl4j;

import io.nccl4j.internal.LibraryLoader;

/**
 * The native libraries in use.
 *
 * <p>The real ones are looked for in this order: the files named by the system properties {@code
 * nccl4j.cudart.library}, {@code nccl4j.nccl.library} and {@code nccl4j.nccl_ep.library}; the folders of the system
 * property {@code nccl4j.library.path}; those of the environment variable {@code NCCL4J_LIBRARY_PATH}; the folders that
 * {@code CUDA_HOME}, {@code CUDA_PATH} and {@code NCCL_HOME} name; NVIDIA's packages in the active Python environment
 * ({@code VIRTUAL_ENV}, {@code CONDA_PREFIX}); the dynamic linker's own path. A folder may hold the files itself or be
 * laid out like a CUDA toolkit or Python's {@code site-packages}. Where one library was found, the others are looked
 * for too.
 */
public final class NativeLibraries {
    private NativeLibraries() {
    }

    /**
     * Chooses the backend of this JVM, whatever property and environment say. Call it before the first use of nccl4j.
     *
     * @param backend the choice
     * @throws IllegalStateException if the other one is loaded already
     */
    public static void use(Backend backend) {
        LibraryLoader.use(backend);
    }

    /**
     * Loads all three libraries if that has not happened yet. Each part of nccl4j loads those that it needs by itself
     * on first use: {@code io.nccl4j.cuda} the CUDA runtime, {@code io.nccl4j.nccl} NCCL too, {@code io.nccl4j.ep} all
     * of them.
     *
     * @throws NativeLibraryException if they cannot be used; a later call tries again
     */
    public static void load() {
        LibraryLoader.loadNcclEp();
    }

    /** {@return whether {@link #load()} succeeds} Never throws. */
    public static boolean isAvailable() {
        try {
            load();
            return true;
        } catch (NativeLibraryException e) {
            return false;
        }
    }

    /** {@return the backend in use; before the libraries are loaded, the one that would be} */
    public static Backend backend() {
        return LibraryLoader.backend();
    }

    /**
     * {@return files and versions of the loaded libraries, one to a line, for logs and bug reports}
     *
     * @throws NativeLibraryException if the libraries cannot be loaded
     */
    public static String describe() {
        load();
        return LibraryLoader.describe();
    }
}
