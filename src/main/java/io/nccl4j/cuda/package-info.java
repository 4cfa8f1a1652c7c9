/**
 * The part of the CUDA runtime that a server around NCCL EP needs: devices, streams, events, memory, graphs. Classes
 * are named after the concepts and own what they create; things created elsewhere come in by address ({@code wrap}) and
 * are never freed here.
 */
@NullMarked
package io.nccl4j.cuda;

import org.jspecify.annotations.NullMarked;
