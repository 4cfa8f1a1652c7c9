package io.nccl4j.oracle;

/**
 * How many rows a rank of a high-throughput group may receive, and what happens to more.
 *
 * @param rows the budget M; without meaning in eager mode
 * @param overflow what happens to more rows
 */
public record ReceiveBudget(int rows, Overflow overflow) {

    /** The treatment of rows beyond the budget. */
    public enum Overflow {
        /** There is no budget: outputs are sized from the counters. */
        EAGER,
        /** The device traps; there is no result. */
        TRAP,
        /** The rows are left out. */
        DROP
    }

    public static ReceiveBudget eager() {
        return new ReceiveBudget(Integer.MAX_VALUE, Overflow.EAGER);
    }

    public static ReceiveBudget trapping(int rows) {
        return new ReceiveBudget(rows, Overflow.TRAP);
    }

    public static ReceiveBudget dropping(int rows) {
        return new ReceiveBudget(rows, Overflow.DROP);
    }

    /** Whether rows beyond the budget are left out. */
    public boolean drops() {
        return overflow == Overflow.DROP;
    }

    /** Whether the budget is fixed before the routing is known. */
    public boolean fixed() {
        return overflow != Overflow.EAGER;
    }
}
