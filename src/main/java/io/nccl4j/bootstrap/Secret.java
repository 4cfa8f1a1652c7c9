package io.nccl4j.bootstrap;

import java.nio.ByteBuffer;
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

    private Secret(byte[] key) {
        this.key = new SecretKeySpec(key, "HmacSHA256");
    }

    /** Another job or another secret makes another key, whatever characters they have. */
    static Secret of(@Nullable String secret, String job) {
        byte[] name = job.getBytes(StandardCharsets.UTF_8);
        byte[] text = (secret == null ? "" : secret).getBytes(StandardCharsets.UTF_8);
        byte[] fields = ByteBuffer.allocate(8 + name.length + text.length).putInt(name.length).put(name)
                .putInt(text.length).put(text).array();
        return new Secret(fields).derive("nccl4j bootstrap 2");
    }

    /** A key for one purpose. */
    Secret derive(String purpose, byte[]... parts) {
        return new Secret(proof(purpose.getBytes(StandardCharsets.UTF_8), proof(parts)));
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
                mac.update(ByteBuffer.allocate(4).putInt(0, part.length));
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
