package io.nccl4j.ep;

import io.nccl4j.internal.HostName;
import io.nccl4j.nccl.Communicator;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The names of the hosts that a communicator's ranks are on, by rank; of this rank's alone if they are mixed. NCCL EP
 * tells hosts by their names, NCCL by other means: where a name stands for several hosts the library would go wrong on
 * the device.
 */
record RankHosts(List<String> names) {
    /** Asks all ranks. Collective. */
    static RankHosts of(Communicator communicator, Duration longest) {
        return new RankHosts(communicator.exchange("the comparison of host names", longest,
                HostName.ofDevice(communicator.device().ordinal())));
    }

    /** Number of ranks on each host. */
    Map<String, Integer> sizes() {
        Map<String, Integer> sizes = new LinkedHashMap<>();
        names.forEach(name -> sizes.merge(name, 1, Integer::sum));
        return sizes;
    }

    /** Whether ranks of one host are apart from each other, so that teams are smaller than hosts. */
    boolean alternate() {
        int runs = 1;
        for (int rank = 1; rank < names.size(); rank++) {
            runs += names.get(rank).equals(names.get(rank - 1)) ? 0 : 1;
        }
        return runs > sizes().size();
    }
}
