package dev.bolide.e2e;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.io.Writer;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The pull consumer's calls one by one, chosen by {@code --do}. */
final class Pull implements Command {
    @Override
    public boolean run(Args args, Context context) throws Exception {
        String what = args.choice("do", "queues", "offsets", "pull", "update", "drain");
        DefaultMQPullConsumer consumer = context.configure(new DefaultMQPullConsumer(args.text("group")));
        String topic = args.text("topic");
        String sub = args.text("sub", "*");
        int queueId = args.integer("queue", -1);
        long offset = args.number("offset", 0);
        int max = args.integer("max", 32);
        long timeMs = args.number("time-ms", -1);
        boolean block = args.flag("block");
        boolean properties = args.flag("properties");
        String out = args.text("out", null);
        args.refuseUnknown();

        consumer.start();
        try {
            Set<MessageQueue> queues = new TreeSet<>(consumer.fetchSubscribeMessageQueues(topic));
            if (queueId >= 0) {
                queues.removeIf(q -> q.getQueueId() != queueId);
            }
            if (queues.isEmpty()) {
                throw new Args.Usage("no such queue: " + queueId);
            }
            switch (what) {
                case "queues" -> queues.forEach(q -> context.events.emit("queue", "topic", q.getTopic(), "broker", q.getBrokerName(), "queueId", q.getQueueId()));
                case "offsets" -> offsets(consumer, context, queues, timeMs);
                case "pull" -> pull(consumer, context, queues.iterator().next(), sub, offset, max, block, properties);
                case "update" -> update(consumer, context, queues.iterator().next(), offset);
                default -> drain(consumer, context, queues, sub, properties, out);
            }
        } finally {
            consumer.shutdown();
        }
        return true;
    }

    private static void offsets(DefaultMQPullConsumer consumer, Context context, Set<MessageQueue> queues, long timeMs) throws Exception {
        for (MessageQueue queue : queues) {
            context.events.emit("offsets", "broker", queue.getBrokerName(), "queueId", queue.getQueueId(),
                "min", consumer.minOffset(queue), "max", consumer.maxOffset(queue),
                "earliestStoreTime", earliest(consumer, queue),
                "byTime", timeMs < 0 ? null : consumer.searchOffset(queue, timeMs),
                "committed", consumer.fetchConsumeOffset(queue, true));
        }
    }

    /** A broker answers with an error, or -1, when the queue holds nothing. */
    private static long earliest(DefaultMQPullConsumer consumer, MessageQueue queue) {
        try {
            return consumer.earliestMsgStoreTime(queue);
        } catch (Exception e) {
            return -1;
        }
    }

    private static void pull(DefaultMQPullConsumer consumer, Context context, MessageQueue queue, String sub, long offset, int max,
                             boolean block, boolean properties) throws Exception {
        long start = System.nanoTime();
        PullResult result = block ? consumer.pullBlockIfNotFound(queue, sub, offset, max) : consumer.pull(queue, sub, offset, max);
        long elapsedMs = (System.nanoTime() - start) / 1_000_000;
        if (result.getPullStatus() == PullStatus.FOUND) {
            result.getMsgFoundList().forEach(m -> context.events.emit("message", Received.fields(m, properties)));
        }
        context.events.emit("pulled", "status", result.getPullStatus().name(), "next", result.getNextBeginOffset(),
            "min", result.getMinOffset(), "max", result.getMaxOffset(), "elapsedMs", elapsedMs,
            "found", result.getMsgFoundList() == null ? 0 : result.getMsgFoundList().size());
    }

    private static void update(DefaultMQPullConsumer consumer, Context context, MessageQueue queue, long offset) throws Exception {
        consumer.updateConsumeOffset(queue, offset);
        // The consumer keeps offsets in memory until this, or until a timer of 5 s.
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        for (int i = 0; i < 50 && consumer.fetchConsumeOffset(queue, true) != offset; i++) {
            context.sleep(100);
        }
        context.events.emit("updated", "broker", queue.getBrokerName(), "queueId", queue.getQueueId(), "committed", consumer.fetchConsumeOffset(queue, true));
    }

    /** Every message of every queue from its minimum to the maximum seen at the start, as events or as lines of a file. */
    private static void drain(DefaultMQPullConsumer consumer, Context context, Set<MessageQueue> queues, String sub, boolean properties, String out)
        throws Exception {
        long total = 0;
        try (Writer file = out == null ? Writer.nullWriter() : Files.newBufferedWriter(Path.of(out), StandardCharsets.UTF_8)) {
            for (MessageQueue queue : queues) {
                long end = consumer.maxOffset(queue);
                long at = consumer.minOffset(queue);
                while (at < end) {
                    if (context.expired()) {
                        throw new IllegalStateException("out of time at offset " + at + " of " + end + " in " + queue);
                    }
                    PullResult result = consumer.pull(queue, sub, at, 32);
                    if (result.getPullStatus() == PullStatus.FOUND) {
                        for (MessageExt message : result.getMsgFoundList()) {
                            total++;
                            if (out == null) {
                                context.events.emit("message", Received.fields(message, properties));
                            } else {
                                file.write(queue.getBrokerName() + " " + message.getQueueId() + " " + message.getQueueOffset() + " "
                                    + message.getMsgId() + " " + Body.label(message.getBody()) + " " + Body.crc(message.getBody()) + "\n");
                            }
                        }
                    } else if (result.getNextBeginOffset() <= at) {
                        throw new IllegalStateException("stuck at offset " + at + " of " + end + " in " + queue + ": " + result);
                    }
                    at = result.getNextBeginOffset();
                }
            }
        }
        context.events.emit("drained", "messages", total, "queues", queues.size());
    }
}
