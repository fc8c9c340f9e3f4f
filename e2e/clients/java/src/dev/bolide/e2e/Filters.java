package dev.bolide.e2e;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Many SQL92 expressions over one topic, each in a consumer group of its own, until nothing has come for a while. */
final class Filters implements Command {
    @Override
    public boolean run(Args args, Context context) throws Exception {
        List<String> expressions = args.all("sql");
        String topic = args.text("topic");
        String group = args.text("group");
        long idleMs = args.number("idle-ms", 5_000);
        long queues = args.number("queues", 4);
        args.refuseUnknown();
        Map<String, Set<String>> got = new ConcurrentHashMap<>();
        AtomicLong last = new AtomicLong(System.nanoTime());
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        for (int i = 0; i < expressions.size(); i++) {
            String expression = expressions.get(i);
            Set<String> bodies = got.computeIfAbsent(expression, e -> new ConcurrentSkipListSet<>());
            DefaultMQPushConsumer consumer = context.configure(new DefaultMQPushConsumer(group + "-" + i));
            consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            consumer.setConsumeThreadMin(1);
            consumer.setConsumeThreadMax(1);
            consumer.subscribe(topic, MessageSelector.bySql(expression));
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, queue) -> {
                for (MessageExt message : messages) {
                    bodies.add(Body.label(message.getBody()));
                }
                last.set(System.nanoTime());
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            consumers.add(consumer);
            last.set(System.nanoTime());
        }
        while (!context.expired() && System.nanoTime() - last.get() < idleMs * 1_000_000) {
            if (consumers.stream().anyMatch(consumer -> held(consumer, topic) < queues)) {
                last.set(System.nanoTime());
            }
            Thread.sleep(50);
        }
        for (String expression : expressions) {
            context.events.emit("filtered", "sql", expression, "bodies", new TreeSet<>(got.get(expression)));
        }
        consumers.forEach(DefaultMQPushConsumer::shutdown);
        context.events.emit("done", "expressions", expressions.size());
        return !context.expired();
    }

    private static long held(DefaultMQPushConsumer consumer, String topic) {
        return Queues.held(consumer).stream().filter(queue -> queue.getTopic().equals(topic)).count();
    }
}
