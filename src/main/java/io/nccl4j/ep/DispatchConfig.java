package io.nccl4j.ep;

import io.nccl4j.bindings.ncclep.NcclEp;
import io.nccl4j.bindings.ncclep.ncclEpDispatchConfig_t;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * How a dispatch is done, {@code ncclEpDispatchConfig_t}. Immutable, one object per combination of values: each method
 * returns the changed one. Thread-safe.
 */
public final class DispatchConfig {
    private record Key(boolean sendOnly, boolean roundScales, PassDirection direction, DispatchRecipe recipe) {
    }

    private static final Map<Key, DispatchConfig> KNOWN = new ConcurrentHashMap<>();

    private final Key key;
    private final long address;

    private DispatchConfig(Key key) {
        this.key = key;
        // A few dozen bytes in all, since there is one per combination: never freed.
        MemorySegment struct = Arena.global().allocate(ncclEpDispatchConfig_t.layout());
        ncclEpDispatchConfig_t.size(struct, NcclEp.NCCL_EP_DISPATCH_CONFIG_V2_SIZE());
        ncclEpDispatchConfig_t.magic(struct, NcclEp.NCCL_EP_MAGIC());
        ncclEpDispatchConfig_t.send_only(struct, key.sendOnly ? 1 : 0);
        ncclEpDispatchConfig_t.round_scales(struct, key.roundScales ? 1 : 0);
        ncclEpDispatchConfig_t.pass_direction(struct, key.direction.code());
        ncclEpDispatchConfig_t.quant_recipe(struct, key.recipe.code());
        this.address = struct.address();
    }

    private static DispatchConfig of(boolean sendOnly, boolean roundScales, PassDirection direction,
            DispatchRecipe recipe) {
        return KNOWN.computeIfAbsent(new Key(sendOnly, roundScales, direction, recipe), DispatchConfig::new);
    }

    /** {@return what C's {@code NULL} stands for: all at once, forward, no recipe} */
    public static DispatchConfig defaults() {
        return of(false, false, PassDirection.FORWARD, DispatchRecipe.NONE);
    }

    /**
     * Low latency: only the send half; {@link EpHandle#complete()} does the rest.
     *
     * @return the changed configuration
     */
    public DispatchConfig sendOnly() {
        return of(true, key.roundScales, key.direction, key.recipe);
    }

    /**
     * Whether scales made by {@link DispatchRecipe#DS_FP8E3M4} are rounded up to powers of two.
     *
     * @param value the setting
     * @return the changed configuration
     */
    public DispatchConfig roundScales(boolean value) {
        return of(key.sendOnly, value, key.direction, key.recipe);
    }

    /**
     * Forward or backward; low latency has the forward pass only.
     *
     * @param value the direction
     * @return the changed configuration
     */
    public DispatchConfig direction(PassDirection value) {
        return of(key.sendOnly, key.roundScales, value, key.recipe);
    }

    /**
     * Quantisation of tokens on their way.
     *
     * @param value the recipe
     * @return the changed configuration
     */
    public DispatchConfig recipe(DispatchRecipe value) {
        return of(key.sendOnly, key.roundScales, key.direction, value);
    }

    /** {@return {@code send_only}} */
    public boolean isSendOnly() {
        return key.sendOnly;
    }

    /** {@return {@code round_scales}} */
    public boolean hasRoundScales() {
        return key.roundScales;
    }

    /** {@return {@code pass_direction}} */
    public PassDirection direction() {
        return key.direction;
    }

    /** {@return {@code quant_recipe}} */
    public DispatchRecipe recipe() {
        return key.recipe;
    }

    long address() {
        return address;
    }

    @Override
    public String toString() {
        return "DispatchConfig" + key;
    }
}
