/** Tests of all packages check in the same ways what a call refuses, what the log says, and what comes to be. */
package io.nccl4j.checks;
