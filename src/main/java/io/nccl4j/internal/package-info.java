/** Loading, ownership and the hot native calls. Not exported: may change at any time. */
@NullMarked
package io.nccl4j.internal;

import org.jspecify.annotations.NullMarked;
