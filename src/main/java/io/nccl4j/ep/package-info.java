/** TODO */
@NullMarked
package io.nccl4j.ep;

import org.jspecify.annotations.NullMarked;
