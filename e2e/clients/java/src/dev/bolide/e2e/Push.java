package dev.bolide.e2e;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** A push consumer that prints every message and every change of its assigned queues. */
final class Push implements Command {
    private Context context;
    private int failFirst;
    private List<String> failOnly;
    private boolean failAlways;
    private boolean printProperties;
    private long consumeMs;
    private long suspendMs;
    private Integer delayLevel;
    /** Deliveries of each message so far, by {@link #identity}. */
    private final Map<String, AtomicInteger> attempts = new ConcurrentHashMap<>();
    private final Set<String> consumed = ConcurrentHashMap.newKeySet();
    private final AtomicInteger failures = new AtomicInteger();
    private final AtomicLong lastArrival = new AtomicLong(System.nanoTime());
    private volatile boolean stop;

    @Override
    public boolean run(Args args, Context given) throws Exception {
        context = given;
        failFirst = args.integer("fail-first", 0);
        failAlways = args.flag("fail-always");
        failOnly = args.all("fail-only");
        printProperties = args.flag("properties");
        consumeMs = args.number("consume-ms", 0);
        suspendMs = args.number("suspend-ms", -1);
        delayLevel = args.has("retry-delay-level") ? args.integer("retry-delay-level", 0) : null;
        long expect = args.number("expect", -1);
        long lingerMs = args.number("linger-ms", 0);
        long idleMs = args.number("idle-ms", -1);
        DefaultMQPushConsumer consumer = consumer(args);
        args.refuseUnknown();

        consumer.start();
        context.events.emit("started", "clientId", consumer.buildMQClientId());
        context.onLine(line -> control(consumer, line));
        long reachedAt = -1;
        Set<String> assigned = Set.of();
        while (!stop && !context.expired()) {
            assigned = printAssignment(consumer, assigned);
            long now = System.nanoTime();
            if (expect >= 0 && consumed.size() >= expect) {
                reachedAt = reachedAt < 0 ? now : reachedAt;
                if (now - reachedAt >= lingerMs * 1_000_000) {
                    break;
                }
            }
            if (idleMs >= 0 && now - lastArrival.get() >= idleMs * 1_000_000) {
                break;
            }
            Thread.sleep(50);
        }
        boolean timedOut = context.expired();
        consumer.shutdown();
        context.events.emit("stopped", "consumed", consumed.size(), "failures", failures.get(), "timeout", timedOut);
        return expect >= 0 ? consumed.size() >= expect : true;
    }

    private DefaultMQPushConsumer consumer(Args args) throws Exception {
        DefaultMQPushConsumer consumer = context.configure(new DefaultMQPushConsumer(args.text("group")));
        for (String topic : args.all("topic")) {
            if (args.has("sql")) {
                consumer.subscribe(topic, MessageSelector.bySql(args.text("sql")));
            } else {
                consumer.subscribe(topic, args.text("sub", "*"));
            }
        }
        if (args.choice("model", "clustering", "broadcasting").equals("broadcasting")) {
            Extras.load().broadcast(consumer);
        }
        switch (args.choice("from", "last", "first", "timestamp")) {
            case "first" -> consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            case "timestamp" -> {
                consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
                consumer.setConsumeTimestamp(UtilAll.timeMillisToHumanString3(args.number("from-ms", 0)));
            }
            default -> consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        }
        int threads = args.integer("threads", 4);
        consumer.setConsumeThreadMin(threads);
        consumer.setConsumeThreadMax(threads);
        consumer.setConsumeMessageBatchMaxSize(args.integer("batch", 1));
        consumer.setPullBatchSize(args.integer("pull-batch", consumer.getPullBatchSize()));
        consumer.setMaxReconsumeTimes(args.integer("max-reconsume", -1));
        consumer.setPersistConsumerOffsetInterval(args.integer("persist-ms", 5000));
        if (args.flag("pop")) {
            Extras.load().brokerAssigns(consumer, args.number("invisible-ms", 60_000));
        }
        if (args.choice("listener", "concurrently", "orderly").equals("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, queue) -> {
                if (suspendMs >= 0) {
                    queue.setSuspendCurrentQueueTimeMillis(suspendMs);
                }
                return consume(messages, "SUSPEND") ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            });
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, queue) -> {
                if (delayLevel != null) {
                    queue.setDelayLevelWhenNextConsume(delayLevel);
                }
                return consume(messages, "LATER") ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
        }
        return consumer;
    }

    /** True = consumed. One message that is to fail makes its whole batch fail. */
    private boolean consume(List<MessageExt> messages, String failure) {
        boolean good = true;
        for (MessageExt message : messages) {
            good &= !mustFail(message);
        }
        for (MessageExt message : messages) {
            lastArrival.set(System.nanoTime());
            int attempt = attempts.get(identity(message)).get();
            context.events.emit("message", Received.fields(message, printProperties,
                "attempt", attempt, "result", good ? "OK" : failure, "thread", Thread.currentThread().getName()));
        }
        if (consumeMs > 0) {
            try {
                Thread.sleep(consumeMs);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return false;
            }
        }
        if (good) {
            messages.forEach(m -> consumed.add(identity(m)));
        } else {
            failures.addAndGet(messages.size());
        }
        return good;
    }

    /** Survives retry topics. The 5.x client gives all messages of a batch one UNIQ_KEY, hence the label. */
    private static String identity(MessageExt message) {
        return message.getMsgId() + "/" + Body.label(message.getBody());
    }

    private boolean mustFail(MessageExt message) {
        int attempt = attempts.computeIfAbsent(identity(message), id -> new AtomicInteger()).incrementAndGet();
        boolean chosen = failOnly.isEmpty() || failOnly.contains(Body.label(message.getBody()));
        return chosen && (failAlways || attempt <= failFirst);
    }

    private void control(DefaultMQPushConsumer consumer, String line) {
        switch (line) {
            case "stop" -> stop = true;
            case "suspend" -> consumer.suspend();
            case "resume" -> consumer.resume();
            case "fail" -> failAlways = true;
            case "succeed" -> {
                failAlways = false;
                failFirst = 0;
            }
            default -> System.err.println("unknown control line: " + line);
        }
        context.events.emit("control", "line", line);
    }

    /** The queues this instance holds now, retry topics left out; printed when they differ from last time. */
    private Set<String> printAssignment(DefaultMQPushConsumer consumer, Set<String> before) {
        Set<String> now = new TreeSet<>();
        for (MessageQueue queue : Queues.held(consumer)) {
            if (!queue.getTopic().startsWith("%RETRY%")) {
                now.add(queue.getTopic() + "@" + queue.getBrokerName() + "@" + queue.getQueueId());
            }
        }
        if (!now.equals(before)) {
            context.events.emit("assigned", "count", now.size(), "queues", now);
        }
        return now;
    }
}
