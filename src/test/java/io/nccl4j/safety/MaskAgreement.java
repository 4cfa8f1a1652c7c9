package io.nccl4j.safety;

import io.nccl4j.cuda.CudaStream;
import io.nccl4j.ep.EpGroup;
import io.nccl4j.ep.RankMask;
import io.nccl4j.nccl.Bootstrap;

/** The example of docs/fault-tolerance.md. */
final class MaskAgreement {
    private MaskAgreement() {
    }

    // example agree
    /** One mask for all, from what each rank has seen. Every rank that lives calls it, between the same two steps. */
    static RankMask agree(EpGroup group, Bootstrap channel, CudaStream stream) {
        RankMask mine = group.maskQuery(stream);
        byte[] view = new byte[mine.size() + 1];
        for (int rank = 0; rank < mine.size(); rank++) {
            view[rank] = (byte) (mine.isActive(rank) ? 1 : 0);
        }
        // Who says so: after a rank has died, the channel of the others numbers them anew.
        view[mine.size()] = (byte) group.communicator().rank();
        byte[][] views = new byte[mine.size()][];
        for (byte[] told : channel.allGather(view)) {
            views[told[mine.size()]] = told;
        }
        RankMask agreed = withoutQuarrels(views);
        group.maskUpdate(agreed, stream);
        group.errorClear();
        return agreed;
    }

    /**
     * A broken link makes both ends mask each other, and leaving out one of them is enough. So of the ranks that have
     * told their view, the one that most others have masked goes first (of several the last), until those that stay
     * hear each other. Everybody computes this from the same views, so everybody comes to the same mask.
     */
    static RankMask withoutQuarrels(byte[][] views) {
        RankMask staying = RankMask.all(views.length);
        for (int rank = 0; rank < views.length; rank++) {
            if (views[rank] == null) {
                staying = staying.without(rank);
            }
        }
        while (true) {
            int worst = -1;
            int most = 1;
            for (int rank = 0; rank < views.length; rank++) {
                int complaints = 0;
                for (int other = 0; other < views.length; other++) {
                    if (staying.isActive(rank) && staying.isActive(other) && views[other][rank] == 0) {
                        complaints++;
                    }
                }
                if (complaints >= most) {
                    most = complaints;
                    worst = rank;
                }
            }
            if (worst < 0) {
                return staying;
            }
            staying = staying.without(worst);
        }
    }
    // end
}
