package dev.bolide.e2e;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Random;
import java.util.zip.CRC32;

/** Message bodies that a reader can check: a label, then, when a size is asked for, '|' and filling up to that size. */
public final class Body {
    private Body() { }

    /** @param size bytes; 0 or less = just the label. @param compressible repeated text instead of noise */
    public static byte[] make(String label, int size, boolean compressible) {
        byte[] head = label.getBytes(StandardCharsets.UTF_8);
        if (size <= head.length) {
            return head;
        }
        byte[] body = Arrays.copyOf(head, size);
        body[head.length] = '|';
        Random noise = new Random(label.hashCode());
        for (int i = head.length + 1; i < size; i++) {
            body[i] = (byte) (compressible ? 'a' + i % 16 : 33 + noise.nextInt(90));
        }
        return body;
    }

    /** What precedes the filling. */
    public static String label(byte[] body) {
        if (body == null) {
            return "";
        }
        int end = 0;
        while (end < body.length && end < 256 && body[end] != '|') {
            end++;
        }
        return new String(body, 0, end, StandardCharsets.UTF_8);
    }

    public static long crc(byte[] body) {
        CRC32 crc = new CRC32();
        crc.update(body == null ? new byte[0] : body);
        return crc.getValue();
    }
}
