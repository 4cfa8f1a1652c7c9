package io.nccl4j.bootstrap;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.jspecify.annotations.Nullable;

/**
 * Shows that bytes come from someone who knows the job's secret, without showing the secret: HMAC-SHA-256. Without a
 * secret it tells jobs apart and finds damage, and keeps nobody out.
 */
final class Secret {
    /** Length of a proof. */
    static final int PROOF_BYTES = 32;
    /** Length of a number that makes a conversation unlike any other. */
    static final int NONCE_BYTES = 16;

    private static final SecureRandom RANDOM = new SecureRandom();

    private final SecretKeySpec key;

    private Secret(SecretKeySpec key) {
        this.key = key;
    }

    static Secret of(@Nullable String secret, String job) {
        byte[] bytes = ("nccl4j bootstrap 1\n" + job + "\n" + (secret == null ? "" : secret))
                .getBytes(StandardCharsets.UTF_8);
        return new Secret(new SecretKeySpec(bytes, "HmacSHA256"));
    }

    static byte[] nonce() {
        byte[] nonce = new byte[NONCE_BYTES];
        RANDOM.nextBytes(nonce);
        return nonce;
    }

    /** The proof for these parts; their borders count. */
    byte[] proof(byte[]... parts) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(key);
            for (byte[] part : parts) {
                for (int shift = 24; shift >= 0; shift -= 8) {
                    mac.update((byte) (part.length >> shift));
                }
                mac.update(part);
            }
            return mac.doFinal();
        } catch (GeneralSecurityException e) {
            // Every Java platform has it.
            throw new IllegalStateException(e);
        }
    }

    boolean proves(byte[] proof, byte[]... parts) {
        return MessageDigest.isEqual(proof, proof(parts));
    }
}
