package dev.bolide.e2e;

import java.util.List;
import org.apache.rocketmq.common.message.Message;

/** Makes message number {@code seq} from the options of the command line. */
final class MessageTemplate {
    private final String topic;
    private final List<String> tags;
    private final String prefix;
    private final int size;
    private final boolean compressible;
    private final String keys;
    private final String keyPrefix;
    private final int delayLevel;
    private final List<String> properties;
    private final long delayMs;
    private final long delaySeconds;
    private final long deliverInMs;

    MessageTemplate(Args args) {
        topic = args.text("topic");
        tags = args.all("tag");
        prefix = args.text("body", "m");
        size = args.integer("size", 0);
        compressible = args.flag("compressible");
        keys = args.text("keys", null);
        keyPrefix = args.text("key-prefix", null);
        delayLevel = args.integer("delay-level", 0);
        properties = args.all("property");
        delayMs = args.number("delay-ms", 0);
        delaySeconds = args.number("delay-s", 0);
        deliverInMs = args.number("deliver-in-ms", 0);
        for (String property : properties) {
            if (!property.contains("=")) {
                throw new Args.Usage("--property needs name=value, not " + property);
            }
        }
    }

    Message message(int seq) {
        Message message = new Message(topic, Body.make(prefix + "-" + seq, size, compressible));
        if (!tags.isEmpty()) {
            message.setTags(tags.get(Math.floorMod(seq, tags.size())));
        }
        if (keys != null) {
            message.setKeys(keys);
        } else if (keyPrefix != null) {
            message.setKeys(keyPrefix + "-" + seq);
        }
        if (delayLevel > 0) {
            message.setDelayTimeLevel(delayLevel);
        }
        for (String property : properties) {
            int equals = property.indexOf('=');
            // {seq} in a value makes it differ from message to message.
            message.putUserProperty(property.substring(0, equals), property.substring(equals + 1).replace("{seq}", String.valueOf(seq)));
        }
        if (delayMs > 0 || delaySeconds > 0 || deliverInMs > 0) {
            Extras.load().timer(message, delayMs, delaySeconds, deliverInMs > 0 ? System.currentTimeMillis() + deliverInMs : 0);
        }
        return message;
    }
}
