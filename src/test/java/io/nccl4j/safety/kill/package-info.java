/**
 * One rank of several is killed, stopped, terminated or interrupted by a signal, anywhere in its life. The others end
 * with exceptions, within their limits; so does it if it can. {@code KillCampaignTest} draws trials, {@code
 * SignalledRankProcess} is a rank of one.
 */
package io.nccl4j.safety.kill;
