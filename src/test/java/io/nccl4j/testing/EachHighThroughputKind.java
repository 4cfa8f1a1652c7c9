package io.nccl4j.testing;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A test of its own for every layout of high throughput; the kind of layer is its first parameter. */
@ParameterizedTest
@EnumSource(value = LayerKind.class, names = {"HT_FLAT", "HT_EXPERT_MAJOR"})
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface EachHighThroughputKind {
}
