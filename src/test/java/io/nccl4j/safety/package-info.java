/**
 * Mistakes of users, and failures around them: each ends in an exception that says so, and the next step is
 * right.
 *
 * <p><b>One test for each</b>: {@code GraphFailureModesTest}, {@code SharingFailureModesTest} and {@code
 * LibraryFailureModesTest} hold F1 to F24 of docs/failure-modes.md; ownership is in {@code OwnershipTest}, {@code
 * UseAfterCloseTest}, {@code LeakReportTest} and {@code CreateFailureTest} (with {@code Made}, everything that can be
 * made); ends in {@code TeardownTest} and {@code BoundedWaitsTest}; lost ranks in {@code RankFaultsTest}, {@code
 * DyingRankTest} and {@code FaultToleranceGuideTest} (with {@code MaskAgreement} and {@code Survivors}); {@code
 * SoakTest} replays for long.
 *
 * <p><b>Anything at random</b> is the package {@code io.nccl4j.safety.hostile}. What hostile use has found stands here
 * as a test of its own: {@code OrderOfCallsTest}, {@code CallsInANcclGroupTest}, {@code GraphAndEagerTest}, {@code
 * LateCommunicatorTest}, {@code RoutingOnTheHostTest}, {@code ExceptionsInCallbacksTest}.
 */
package io.nccl4j.safety;
