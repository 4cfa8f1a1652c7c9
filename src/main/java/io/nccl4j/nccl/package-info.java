/**
 * The part of NCCL that stands below NCCL EP: communicators and how ranks find each other, symmetric memory and
 * windows, and the collectives that a server needs around an MoE layer.
 */
@NullMarked
package io.nccl4j.nccl;

import org.jspecify.annotations.NullMarked;
