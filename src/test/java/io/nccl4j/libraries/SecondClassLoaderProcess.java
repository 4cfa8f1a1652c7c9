package io.nccl4j.libraries;

import java.io.File;
import java.lang.ref.WeakReference;
import java.lang.reflect.InvocationTargetException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** An application that is deployed twice in one JVM; run in a JVM of its own. */
final class SecondClassLoaderProcess {
    private static final long LIMIT_NANOS = 20_000_000_000L;

    private SecondClassLoaderProcess() {
    }

    public static void main(String[] arguments) throws Exception {
        WeakReference<ClassLoader> first = deploy("first", "devices");
        deploy("second", "devices");
        String given = System.getProperty("nccl4j.emulator.library");
        System.setProperty("nccl4j.emulator.library", arguments[0]);
        deploy("third", "devices");
        System.setProperty("nccl4j.emulator.library", given);
        long deadline = System.nanoTime() + LIMIT_NANOS;
        while (first.get() != null && System.nanoTime() < deadline) {
            System.gc();
            Thread.sleep(10);
        }
        System.out.println("first is " + (first.get() == null ? "collected" : "still there"));
        deploy("fourth", "devices");
    }

    private static WeakReference<ClassLoader> deploy(String name, String what) throws Exception {
        List<URL> path = new ArrayList<>();
        for (String entry : System.getProperty("java.class.path").split(File.pathSeparator)) {
            path.add(Path.of(entry).toUri().toURL());
        }
        URLClassLoader loader = new URLClassLoader(name, path.toArray(URL[]::new),
                ClassLoader.getPlatformClassLoader());
        try {
            Object count = loader.loadClass("io.nccl4j.cuda.CudaDevice").getMethod("count").invoke(null);
            System.out.println(name + ": " + what + " " + count);
        } catch (InvocationTargetException e) {
            System.out.println(name + ": " + e.getCause());
        }
        return new WeakReference<>(loader);
    }
}
