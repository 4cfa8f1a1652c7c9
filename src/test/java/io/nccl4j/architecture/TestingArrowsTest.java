package io.nccl4j.architecture;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.core.importer.Location;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;
import java.util.regex.Pattern;

/**
 * The emulator's jar is another module for its users, on the module path or the class path: it sees what the library
 * exports, and its own packages need each other in one direction.
 */
@AnalyzeClasses(packages = {"io.nccl4j.emulator", "io.nccl4j.junit", "io.nccl4j.oracle", "io.nccl4j.testing"},
        importOptions = TestingArrowsTest.Shipped.class)
class TestingArrowsTest {
    /** Tests of these packages stand in the same folder of classes. */
    static final class Shipped implements ImportOption {
        @Override
        public boolean includes(Location location) {
            return !location.matches(Pattern.compile(".*Test(\\$.*)?\\.class"));
        }
    }

    @ArchTest
    static final ArchRule ONLY_WHAT_IS_EXPORTED = noClasses().should().dependOnClassesThat().resideInAnyPackage(
            "io.nccl4j.internal..", "io.nccl4j.bindings.cudart..", "io.nccl4j.bindings.nccl..",
            "io.nccl4j.bindings.ncclep..", "org.assertj..");

    @ArchTest
    static final ArchRule EMULATOR_NEEDS_NO_OTHER = noClasses().that().resideInAPackage("io.nccl4j.emulator").should()
            .dependOnClassesThat()
            .resideInAnyPackage("io.nccl4j.junit", "io.nccl4j.oracle", "io.nccl4j.testing", "org.junit..");

    @ArchTest
    static final ArchRule ORACLE_NEEDS_NO_OTHER = noClasses().that().resideInAPackage("io.nccl4j.oracle").should()
            .dependOnClassesThat()
            .resideInAnyPackage("io.nccl4j.junit", "io.nccl4j.emulator", "io.nccl4j.testing", "org.junit..");

    @ArchTest
    static final ArchRule PUBLIC_CLASSES_ARE_FINAL = classes().that().arePublic().and().areNotInterfaces().and()
            .areNotEnums().and().doNotHaveModifier(JavaModifier.ABSTRACT).should().haveModifier(JavaModifier.FINAL);
}
