package dev.bolide.e2e;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeMap;
import org.apache.rocketmq.common.message.MessageExt;

/** How a message that came from a broker is printed. */
public final class Received {
    private Received() { }

    /** Fields of event "message"; {@code more} is put behind them. */
    public static Object[] fields(MessageExt message, boolean properties, Object... more) {
        List<Object> fields = new ArrayList<>(List.of(
            "body", Body.label(message.getBody()),
            "size", message.getBody() == null ? 0 : message.getBody().length,
            "crc", Body.crc(message.getBody()),
            "topic", message.getTopic(),
            "queueId", message.getQueueId(),
            "queueOffset", message.getQueueOffset(),
            "logOffset", message.getCommitLogOffset(),
            "msgId", message.getMsgId(),
            "reconsumeTimes", message.getReconsumeTimes(),
            "bornTimestamp", message.getBornTimestamp()));
        fields.addAll(Arrays.asList(
            "storeTimestamp", message.getStoreTimestamp(),
            "arrivedMs", System.currentTimeMillis(),
            "broker", message.getBrokerName(),
            "tags", message.getTags(),
            "keys", message.getKeys(),
            "sysFlag", message.getSysFlag(),
            "bornHost", String.valueOf(message.getBornHost()).replaceFirst("^/", ""),
            "storeHost", String.valueOf(message.getStoreHost()).replaceFirst("^/", "")));
        if (properties) {
            fields.add("properties");
            fields.add(new TreeMap<>(message.getProperties()));
        }
        fields.addAll(Arrays.asList(more));
        return fields.toArray();
    }
}
