package io.nccl4j.testing;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A test of its own for every layout of low latency; the kind of layer is its first parameter. */
@ParameterizedTest
@EnumSource(value = LayerKind.class, names = {"LL_EXPERT_MAJOR", "LL_RANK_MAJOR"})
@Retention(RetentionPolicy.RUNTIME)
@Target(ElementType.METHOD)
public @interface EachLowLatencyKind {
}
