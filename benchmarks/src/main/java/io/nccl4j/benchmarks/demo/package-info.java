/**
 * {@code ep demo}: a decode loop of Mixture-of-Experts layers, every row of which is checked.
 *
 * <p>To try something else, change one class: {@link io.nccl4j.benchmarks.demo.AffineExperts} (what an expert
 * computes), {@link io.nccl4j.benchmarks.demo.Router} (which experts a token goes to), {@link
 * io.nccl4j.benchmarks.demo.DecodeStep} (what a step is made of).
 */
@NullMarked
package io.nccl4j.benchmarks.demo;

import org.jspecify.annotations.NullMarked;
