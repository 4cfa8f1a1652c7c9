package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpCombineConfig_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * How a combine is done, {@code ncclEpCombineConfig_t}. Immutable, one object per combination of values: each method
 * returns the changed one. Thread-safe.
 */
public final class CombineConfig {
    private record Key(boolean sendOnly, PassDirection direction, CombineRecipe recipe) {
    }

    private static final Map<Key, CombineConfig> KNOWN = new ConcurrentHashMap<>();

    private final Key key;
    private final long address;

    private CombineConfig(Key key) {
        this.key = key;
        // A few dozen bytes in all, since there is one per combination: never freed.
        MemorySegment struct = Arena.global().allocate(ncclEpCombineConfig_t.layout());
        ncclEpCombineConfig_t.size(struct, NcclEp.NCCL_EP_COMBINE_CONFIG_V2_SIZE());
        ncclEpCombineConfig_t.magic(struct, NcclEp.NCCL_EP_MAGIC());
        ncclEpCombineConfig_t.send_only(struct, key.sendOnly ? 1 : 0);
        ncclEpCombineConfig_t.pass_direction(struct, key.direction.code());
        ncclEpCombineConfig_t.quant_recipe(struct, key.recipe.code());
        this.address = struct.address();
    }

    private static CombineConfig of(boolean sendOnly, PassDirection direction, CombineRecipe recipe) {
        return KNOWN.computeIfAbsent(new Key(sendOnly, direction, recipe), CombineConfig::new);
    }

    /** {@return what C's {@code NULL} stands for: all at once, forward, no recipe} */
    public static CombineConfig defaults() {
        return of(false, PassDirection.FORWARD, CombineRecipe.NONE);
    }

    /**
     * Low latency: only the send half; {@link EpHandle#complete()} does the rest. On GPUs the receive half was seen not
     * to wait for the rows of the other ranks (docs/evidence/hardware.md): complete when the send halves of all
     * ranks have run, by a barrier between them.
     *
     * @return the changed configuration
     */
    public CombineConfig sendOnly() {
        return of(true, key.direction, key.recipe);
    }

    /**
     * Forward or backward; low latency has the forward pass only.
     *
     * @param value the direction
     * @return the changed configuration
     */
    public CombineConfig direction(PassDirection value) {
        return of(key.sendOnly, value, key.recipe);
    }

    /**
     * Quantisation. Other than NONE:
     *
     * @param value the recipe
     * @return the changed configuration
     */
    public CombineConfig recipe(CombineRecipe value) {
        return of(key.sendOnly, key.direction, value);
    }

    /** {@return {@code send_only}} */
    public boolean isSendOnly() {
        return key.sendOnly;
    }

    /** {@return {@code pass_direction}} */
    public PassDirection direction() {
        return key.direction;
    }

    /** {@return {@code quant_recipe}} */
    public CombineRecipe recipe() {
        return key.recipe;
    }

    long address() {
        return address;
    }

    @Override
    public String toString() {
        return "CombineConfig" + key;
    }
}
