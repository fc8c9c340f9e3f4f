package dev.bolide.e2e;

import java.lang.reflect.Field;
import java.util.Map;
import java.util.Set;
import java.util.HashSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.impl.consumer.RebalanceImpl;
import org.apache.rocketmq.common.message.MessageQueue;

/** The queues a push consumer holds at this moment, whoever assigned them. */
final class Queues {
    private Queues() { }

    static Set<MessageQueue> held(DefaultMQPushConsumer consumer) {
        RebalanceImpl rebalance = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl();
        Set<MessageQueue> queues = new HashSet<>(rebalance.getProcessQueueTable().keySet());
        // Only the 5.x client has a table of popped queues.
        try {
            Field popped = RebalanceImpl.class.getDeclaredField("popProcessQueueTable");
            popped.setAccessible(true);
            for (Object queue : ((Map<?, ?>) popped.get(rebalance)).keySet()) {
                queues.add((MessageQueue) queue);
            }
        } catch (NoSuchFieldException e) {
            return queues;
        } catch (IllegalAccessException e) {
            throw new IllegalStateException(e);
        }
        return queues;
    }
}
