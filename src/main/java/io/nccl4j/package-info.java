/**
 * Shared by every part of nccl4j and its users: the base of all native objects, the choice of the native libraries, and
 * the exceptions that carry what the libraries answered.
 */
@NullMarked
package io.nccl4j;

import org.jspecify.annotations.NullMarked;
