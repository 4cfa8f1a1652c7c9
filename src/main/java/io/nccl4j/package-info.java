/**
 * What every part of nccl4j shares with its users: which native libraries are in use, and the exceptions that carry
 * what they answered.
 */
@NullMarked
package io.nccl4j;

import org.jspecify.annotations.NullMarked;
