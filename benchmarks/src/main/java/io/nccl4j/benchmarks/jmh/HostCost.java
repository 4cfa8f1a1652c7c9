package io.nccl4j.benchmarks.jmh;

/**
 * What one call costs the host.
 *
 * @param call its name
 * @param c nanoseconds from C
 * @param bare nanoseconds through a static final handle
 * @param api nanoseconds through the public API
 * @param apiBytes bytes of garbage per call through the public API
 */
record HostCost(String call, double c, double bare, double api, double apiBytes) {

    double bareToC() {
        return bare / c;
    }

    double apiToC() {
        return api / c;
    }

    double apiToBare() {
        return api / bare;
    }
}
