package io.nccl4j.bootstrap;

/** SLURM's short form of node lists, such as {@code gpu[01-04,07],login1}. */
final class SlurmNodes {
    private SlurmNodes() {
    }

    /** The first node: where rank 0 is, unless tasks were distributed by hand. */
    static String first(String list) {
        int end = 0;
        int depth = 0;
        while (end < list.length() && (depth > 0 || list.charAt(end) != ',')) {
            depth += list.charAt(end) == '[' ? 1 : list.charAt(end) == ']' ? -1 : 0;
            end++;
        }
        StringBuilder name = new StringBuilder();
        String element = list.substring(0, end);
        int position = 0;
        while (position < element.length()) {
            int open = element.indexOf('[', position);
            if (open < 0) {
                return name.append(element, position, element.length()).toString();
            }
            int close = element.indexOf(']', open);
            if (close < 0) {
                throw new IllegalStateException("SLURM's node list '" + list + "' is not understood");
            }
            String numbers = element.substring(open + 1, close);
            name.append(element, position, open).append(numbers.split("[,-]", 2)[0]);
            position = close + 1;
        }
        return name.toString();
    }
}
