/** Memory and streams of JavaCPP and JCuda under nccl4j, and the other way round: a test of docs/interop.md. */
@NullMarked
package io.nccl4j.examples.interop;

import org.jspecify.annotations.NullMarked;
