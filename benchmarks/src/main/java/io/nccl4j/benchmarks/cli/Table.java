package io.nccl4j.benchmarks.cli;

import com.github.freva.asciitable.AsciiTable;
import com.github.freva.asciitable.Column;
import com.github.freva.asciitable.ColumnData;
import com.github.freva.asciitable.HorizontalAlign;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;

/**
 * A table for people.
 *
 * @param <T> of what each row shows
 */
public final class Table<T> {
    private final List<ColumnData<T>> columns = new ArrayList<>();

    /** Adds a column of words. */
    public Table<T> text(String header, Function<T, String> value) {
        columns.add(new Column().header(header).dataAlign(HorizontalAlign.LEFT).with(value));
        return this;
    }

    /** Adds a column of numbers. */
    public Table<T> number(String header, String format, Function<T, ?> value) {
        columns.add(new Column().header(header).dataAlign(HorizontalAlign.RIGHT)
                .with(row -> String.format(Locale.ROOT, format, value.apply(row))));
        return this;
    }

    /** The whole of it. */
    public String of(List<T> rows) {
        return AsciiTable.getTable(rows, columns);
    }
}
