package dev.bolide.e2e;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * The lite pull consumer: subscribing (shared by the group) or with queues assigned by hand. Commits what it printed when it
 * stops, unless told otherwise, so that the next run of the group goes on behind it.
 */
final class LitePull implements Command {
    @Override
    public boolean run(Args args, Context context) throws Exception {
        String topic = args.text("topic");
        String assign = args.text("assign", null);
        List<String> seeks = args.all("seek");
        boolean commit = !args.flag("no-commit");
        boolean properties = args.flag("properties");
        long expect = args.number("expect", -1);
        long idleMs = args.number("idle-ms", -1);
        DefaultLitePullConsumer consumer = context.configure(new DefaultLitePullConsumer(args.text("group")));
        consumer.setAutoCommit(args.flag("auto-commit"));
        consumer.setPullBatchSize(args.integer("pull-batch", 10));
        if (args.choice("from", "last", "first").equals("first")) {
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        }
        if (assign == null) {
            consumer.subscribe(topic, args.text("sub", "*"));
        }
        args.refuseUnknown();

        AtomicBoolean stop = new AtomicBoolean();
        consumer.start();
        context.onLine(line -> stop.compareAndSet(false, line.equals("stop")));
        context.events.emit("started", "clientId", consumer.buildMQClientId());
        if (assign != null) {
            List<MessageQueue> queues = chosen(consumer, topic, assign);
            consumer.assign(queues);
            for (String seek : seeks) {
                seek(consumer, queues, seek);
            }
        }
        long got = 0;
        long lastArrival = System.nanoTime();
        Set<String> assigned = Set.of();
        while (!stop.get() && !context.expired() && (expect < 0 || got < expect)) {
            // A small batch at a time: the consumer counts what poll returned as consumed.
            List<MessageExt> messages = consumer.poll(200);
            for (MessageExt message : messages) {
                context.events.emit("message", Received.fields(message, properties));
                got++;
                lastArrival = System.nanoTime();
            }
            assigned = printAssignment(consumer, context, assigned);
            if (idleMs >= 0 && System.nanoTime() - lastArrival >= idleMs * 1_000_000) {
                break;
            }
        }
        boolean timedOut = context.expired();
        if (commit) {
            commit(consumer, context);
        }
        consumer.shutdown();
        context.events.emit("stopped", "consumed", got, "timeout", timedOut);
        return expect < 0 || got >= expect;
    }

    /** "all", or queue numbers separated by commas. */
    private static List<MessageQueue> chosen(DefaultLitePullConsumer consumer, String topic, String assign) throws MQClientException {
        List<MessageQueue> all = new ArrayList<>(consumer.fetchMessageQueues(topic));
        all.sort(Comparator.naturalOrder());
        if (assign.equals("all")) {
            return all;
        }
        Set<String> ids = Set.of(assign.split(","));
        return all.stream().filter(q -> ids.contains(String.valueOf(q.getQueueId()))).toList();
    }

    /** QUEUE:OFFSET, QUEUE:begin or QUEUE:end. */
    private static void seek(DefaultLitePullConsumer consumer, List<MessageQueue> queues, String seek) throws MQClientException {
        String[] parts = seek.split(":", 2);
        for (MessageQueue queue : queues) {
            if (String.valueOf(queue.getQueueId()).equals(parts[0])) {
                switch (parts[1]) {
                    case "begin" -> consumer.seekToBegin(queue);
                    case "end" -> consumer.seekToEnd(queue);
                    default -> consumer.seek(queue, Long.parseLong(parts[1]));
                }
                return;
            }
        }
        throw new Args.Usage("--seek " + seek + ": that queue is not assigned");
    }

    private static Set<String> printAssignment(DefaultLitePullConsumer consumer, Context context, Set<String> before) throws MQClientException {
        Set<String> now = new TreeSet<>();
        for (MessageQueue queue : consumer.assignment()) {
            now.add(queue.getTopic() + "@" + queue.getBrokerName() + "@" + queue.getQueueId());
        }
        if (!now.equals(before)) {
            context.events.emit("assigned", "count", now.size(), "queues", now);
        }
        return now;
    }

    private static void commit(DefaultLitePullConsumer consumer, Context context) throws Exception {
        Set<MessageQueue> queues = consumer.assignment();
        consumer.commitSync();
        for (MessageQueue queue : new TreeSet<>(queues)) {
            context.events.emit("committed", "broker", queue.getBrokerName(), "queueId", queue.getQueueId(), "offset", consumer.committed(queue));
        }
    }
}
