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

/** Many SQL92 expressions over one topic, each in a consumer group of its own, until as many have come as are expected. */
final class Filters implements Command {
    @Override
    public boolean run(Args args, Context context) throws Exception {
        List<String> expressions = args.all("sql");
        String topic = args.text("topic");
        String group = args.text("group");
        long expect = args.number("expect", 0);
        long lingerMs = args.number("linger-ms", 2_000);
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
        while (!context.expired()) {
            boolean all = got.values().stream().mapToLong(Set::size).sum() >= expect;
            if (all && System.nanoTime() - last.get() >= lingerMs * 1_000_000) {
                break;
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
}
