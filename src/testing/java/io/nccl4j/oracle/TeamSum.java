package io.nccl4j.oracle;

/**
 * The sum of what the ranks return for a token of high throughput. Ranks of the own team add one after the other; every
 * other team adds up by itself, rounds, and sends one row. Teams come in falling order from the own one on, and after
 * the first the last.
 */
final class TeamSum {
    /** Adds what a rank returns, if it returns something. */
    @FunctionalInterface
    interface RankRows {
        void addTo(RowSum sum, int rank);
    }

    private TeamSum() {
    }

    static byte[] of(EpShape shape, int home, NumberFormat format, int hidden, RankRows rows) {
        int own = home / shape.teamSize();
        RowSum sum = new RowSum(format, hidden);
        add(shape, own, sum, rows);
        for (int distance = 1; distance < shape.teams(); distance++) {
            RowSum part = new RowSum(format, hidden);
            add(shape, Math.floorMod(own - distance, shape.teams()), part, rows);
            sum.add(part.rounded());
        }
        return sum.rounded();
    }

    private static void add(EpShape shape, int team, RowSum sum, RankRows rows) {
        for (int place = 0; place < shape.teamSize(); place++) {
            rows.addTo(sum, team * shape.teamSize() + place);
        }
    }
}
