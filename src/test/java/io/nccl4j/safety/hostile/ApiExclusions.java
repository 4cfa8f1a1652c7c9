package io.nccl4j.safety.hostile;

import io.nccl4j.nccl.Bootstrap;
import java.lang.reflect.Executable;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Methods that {@link HostileUse} does not call with random arguments on random objects, and why. */
final class ApiExclusions {
    private static final String PROMISE = "its caller promises that an address is right; HostileSpecials keeps it";
    private static final String GIVE_BACK = "its taker must give the tensor back; HostileSpecials does";
    private static final String NATIVE_POINTERS = "its caller promises that addresses are functions; see AllocatorTest";
    private static final String END = "ends the use of a communicator or a device; see HostileSpecials";
    private static final String PARTNER = "needs a partner that does the opposite; HostileSpecials sends in a ring";
    private static final String MEETING = "waits for processes that do not exist; see HostileSpecials";
    private static final String ENVIRONMENT = "depends on who has started the process; see RankEnvironmentTest";
    private static final String LISTS = "lists of one type are not told from lists of another at run time";
    private static final String ALONE = "a rank that refuses alone leaves others waiting; see FullDeviceTest";
    private static final String PLUMBING = "for the other packages of the library";

    private static final Map<String, String> REASONS = Map.ofEntries(Map.entry("DeviceMemory.wrap", PROMISE),
            Map.entry("DeviceMemory.adopt", PROMISE), Map.entry("CudaStream.wrap", PROMISE),
            Map.entry("DlpackExchange.give", GIVE_BACK), Map.entry("DlpackExchange.take", PROMISE),
            Map.entry("Communicator.borrow", PROMISE), Map.entry("Communicator.abort", END),
            Map.entry("Communicator.abandon", END), Map.entry("CudaDevice.reset", END),
            Map.entry("CommunicatorOptions.mixed", ALONE), Map.entry("Communicator.init(UniqueId", PARTNER),
            Map.entry("Collectives.send", PARTNER), Map.entry("Collectives.receive", PARTNER),
            Map.entry("Bootstraps.tcp", MEETING), Map.entry("Bootstraps.file", MEETING),
            Map.entry("Bootstraps.inProcess", MEETING), Map.entry("Bootstraps.fromEnvironment", ENVIRONMENT),
            Map.entry("EpGroupConfig.allocator(long,long,long)", NATIVE_POINTERS),
            Map.entry("DeviceMemory.abandon", PLUMBING), Map.entry("Communicator.callCollectively", PLUMBING),
            Map.entry("Communicator.callAmongSurvivors", PLUMBING), Map.entry("Communicator.failed", PLUMBING),
            Map.entry("Communicator.check", PLUMBING), Map.entry("Communicator.exchange", PLUMBING),
            Map.entry("NcclException.of", PLUMBING), Map.entry("NcclException.check", PLUMBING),
            Map.entry("NativeLibraryException.new", LISTS), Map.entry("Preflight.text", LISTS));

    private ApiExclusions() {
    }

    /** Why a method or constructor is left out, or null. */
    static @Nullable String reason(Executable member) {
        // What others implement for the library to call; the generator gives it such.
        if (member.getDeclaringClass().isInterface() && member.getDeclaringClass() != Bootstrap.class) {
            return "a callback, which the library calls";
        }
        String name = ApiSurface.name(member);
        String plain = name.substring(0, name.indexOf('('));
        return REASONS.entrySet().stream().filter(
                entry -> entry.getKey().contains("(") ? name.startsWith(entry.getKey()) : plain.equals(entry.getKey()))
                .map(Map.Entry::getValue).findFirst().orElse(null);
    }

    /** The names in the table, which must all exist. */
    static Iterable<String> names() {
        return REASONS.keySet();
    }
}
