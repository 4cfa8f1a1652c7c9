package io.nccl4j.architecture;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.codeUnits;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaCodeUnit;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ArchRule;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import io.nccl4j.NativeObject;
import java.util.stream.Stream;

/** One direction of dependency: ep, nccl, cuda, internal, bindings; the root package is visible to all. */
@AnalyzeClasses(packages = "io.nccl4j", importOptions = ImportOption.DoNotIncludeTests.class)
class PackageArrowsTest {
    @ArchTest
    static final ArchRule ARROWS = layeredArchitecture().consideringOnlyDependenciesInLayers() //
            .layer("bindings").definedBy("io.nccl4j.bindings..") //
            .layer("root").definedBy("io.nccl4j") //
            .layer("internal").definedBy("io.nccl4j.internal") //
            .layer("cuda").definedBy("io.nccl4j.cuda") //
            .layer("nccl").definedBy("io.nccl4j.nccl") //
            .layer("bootstrap").definedBy("io.nccl4j.bootstrap") //
            .layer("ep").definedBy("io.nccl4j.ep") //
            .whereLayer("ep").mayNotBeAccessedByAnyLayer() //
            .whereLayer("bootstrap").mayNotBeAccessedByAnyLayer() //
            .whereLayer("nccl").mayOnlyBeAccessedByLayers("ep", "bootstrap") //
            .whereLayer("cuda").mayOnlyBeAccessedByLayers("nccl", "ep", "bootstrap") //
            .whereLayer("internal").mayOnlyBeAccessedByLayers("root", "cuda", "nccl", "ep", "bootstrap");

    @ArchTest
    static final ArchRule BINDINGS_DEPEND_ON_THE_JDK_ONLY = classes().that().resideInAPackage("io.nccl4j.bindings..")
            .should().onlyDependOnClassesThat().resideInAnyPackage("java..", "io.nccl4j.bindings..");

    @ArchTest
    static final ArchRule INTERNAL_KNOWS_NO_FLOOR_ABOVE = noClasses().that().resideInAPackage("io.nccl4j.internal")
            .should().dependOnClassesThat()
            .resideInAnyPackage("io.nccl4j.cuda", "io.nccl4j.nccl", "io.nccl4j.ep", "io.nccl4j.bootstrap");

    @ArchTest
    static final ArchRule PUBLIC_CLASSES_ARE_FINAL = classes().that()
            .resideInAnyPackage("io.nccl4j", "io.nccl4j.cuda", "io.nccl4j.nccl", "io.nccl4j.ep", "io.nccl4j.bootstrap")
            .and().arePublic().and().areNotInterfaces().and().areNotEnums().and()
            .doNotHaveModifier(JavaModifier.ABSTRACT).should().haveModifier(JavaModifier.FINAL);

    @ArchTest
    static final ArchRule RUN_TIME_DEPENDENCIES = noClasses().that().resideInAPackage("io.nccl4j..").should()
            .dependOnClassesThat().resideOutsideOfPackages("java..", "javax.crypto..", "jdk.jfr..", "org.slf4j..",
                    "io.nccl4j..", "org.jspecify..");

    @ArchTest
    static final ArchRule PUBLIC_PAGES_SHOW_NOTHING_INTERNAL = codeUnits().that().arePublic().or().areProtected()
            .should(new ArchCondition<>("have no internal type in their signature") {
                @Override
                public void check(JavaCodeUnit unit, ConditionEvents events) {
                    JavaClass owner = unit.getOwner();
                    boolean shown = !owner.getPackageName().startsWith("io.nccl4j.internal")
                            && (owner.getModifiers().contains(JavaModifier.PUBLIC)
                                    || owner.isAssignableTo(NativeObject.class));
                    boolean internal = Stream
                            .concat(unit.getRawParameterTypes().stream(), Stream.of(unit.getRawReturnType()))
                            .anyMatch(type -> type.getPackageName().equals("io.nccl4j.internal"));
                    if (shown && internal) {
                        events.add(SimpleConditionEvent.violated(unit, unit.getFullName()));
                    }
                }
            });
}
