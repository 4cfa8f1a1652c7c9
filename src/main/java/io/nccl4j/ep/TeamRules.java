package io.nccl4j.ep;

import io.nccl4j.nccl.CommunicatorProperties;
import io.nccl4j.nccl.GinType;
import java.util.TreeSet;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The rules for groups over several LSA teams, that is, over several hosts as a rule. */
final class TeamRules {
    private static final Logger LOG = LoggerFactory.getLogger("io.nccl4j.ep.EpGroup");
    /** Documented: 8 hosts of 8 GPUs. */
    private static final int MOST_RANKS_OF_A_HOST = 8;
    private static final int MOST_RANKS = 64;
    private static final int LL_CONTEXTS = 4;
    private static final int HT_DEFAULT_SMS = 16;

    private TeamRules() {
    }

    /** The rules that need no other rank. */
    static void check(GroupShape group, CommunicatorProperties ranks, EpGeneration generation, Violations v) {
        EpGroupConfig c = group.config();
        String teams = group.teamsText();
        v.addIf(Rule.TEAM_LIMITS, group.ranks() > MOST_RANKS, "%d ranks: NCCL EP takes at most %d", group.ranks(),
                MOST_RANKS);
        if (!group.hasSeveralTeams()) {
            return;
        }
        v.addIf(Rule.TEAM_LIMITS, group.teamSize() > MOST_RANKS_OF_A_HOST,
                "%s: NCCL EP takes at most %d ranks per host", teams, MOST_RANKS_OF_A_HOST);
        v.addIf(Rule.ZERO_COPY_TEAMS, group.isLowLatency() && c.zeroCopy() == ZeroCopy.ON,
                "ZeroCopy.ON: low latency writes windows of peers within one team only, and there are %s; "
                        + "use ZeroCopy.AUTO",
                teams);
        GinType gin = group.isLowLatency() ? ranks.gin() : ranks.railedGin();
        v.addIf(Rule.GIN, gin == GinType.NONE,
                "%s, but kernels cannot send over the network between %s: NCCL must find an adapter that it can do "
                        + "GIN with%s; NCCL_DEBUG=INFO tells what it finds",
                teams, group.isLowLatency() ? "all ranks" : "ranks of the same place",
                group.isLowLatency() && ranks.railedGin() != GinType.NONE ? ", and NCCL_CROSS_NIC must not be 0" : "");
        int least = group.isLowLatency() ? LL_CONTEXTS : 1 + 2 * dispatchSms(group, generation);
        v.addIf(Rule.QUEUE_PAIRS, c.queuePairs() != 0 && c.queuePairs() < least,
                "queuePairs is %d: %s over %s needs at least %d, or 0 to let NCCL EP choose", c.queuePairs(),
                c.algorithm(), teams, least);
    }

    /** SMs that a high-throughput dispatch takes, by configuration and environment. */
    private static int dispatchSms(GroupShape group, EpGeneration generation) {
        EpGroupConfig c = group.config();
        int deviceSms = group.device().sms();
        boolean separate = generation.hasSeparateSms();
        String value = ExpertMajorMode.environment.apply(separate ? "NCCL_EP_DISPATCH_SMS" : "NCCL_EP_COMM_SMS");
        if (value != null && value.matches("[0-9]{1,6}") && Integer.parseInt(value) >= 1
                && Integer.parseInt(value) <= deviceSms) {
            return Integer.parseInt(value);
        }
        if (separate && c.dispatchSms() > 0) {
            return c.dispatchSms();
        }
        return c.maxSms() > 0 ? c.maxSms() : Math.min(HT_DEFAULT_SMS, deviceSms);
    }

    /** The rules that compare the ranks: all of them come to the same answer. */
    static void checkHosts(GroupShape group, RankHosts hosts, Violations v) {
        String teams = group.teamsText();
        int count = hosts.sizes().size();
        v.addIf(Rule.HOST_NAMES, !group.isLowLatency() && count == 1,
                "NCCL has made %s, but all hosts are named '%s': high throughput would write through a null pointer on "
                        + "the device; give every host a name of its own%s",
                teams, hosts.names().getFirst(), ", and do not set NCCL_LSA_TEAM_SIZE on a single one");
        TreeSet<Integer> sizes = new TreeSet<>(hosts.sizes().values());
        v.addIf(Rule.HOST_SIZES, sizes.size() > 1, "hosts have %s ranks: all must have the same number",
                String.join(" and ", sizes.stream().map(String::valueOf).toList()));
        v.addIf(Rule.TEAM_LIMITS, count > 1 && sizes.last() > MOST_RANKS_OF_A_HOST,
                "%d ranks on a host: NCCL EP over several hosts takes at most %d", sizes.last(), MOST_RANKS_OF_A_HOST);
        if (hosts.alternate()) {
            LOG.warn("ranks of one host are not numbered one after the other, which makes {}: number them host by host",
                    teams);
        }
    }
}
