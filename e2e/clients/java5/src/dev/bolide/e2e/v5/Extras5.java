package dev.bolide.e2e.v5;

import dev.bolide.e2e.Command;
import dev.bolide.e2e.Extras;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** The 5.x client. */
public final class Extras5 implements Extras {
    @Override
    public void broadcast(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    @Override
    public void timer(Message message, long delayMs, long delaySeconds, long deliverAtMs) {
        if (delayMs > 0) {
            message.setDelayTimeMs(delayMs);
        } else if (delaySeconds > 0) {
            message.setDelayTimeSec(delaySeconds);
        } else {
            message.setDeliverTimeMs(deliverAtMs);
        }
    }

    @Override
    public String recallHandle(SendResult result) {
        return result.getRecallHandle();
    }

    @Override
    public void brokerAssigns(DefaultMQPushConsumer consumer, long invisibleMs) {
        consumer.setClientRebalance(false);
        consumer.setPopInvisibleTime(invisibleMs);
    }

    @Override
    public Map<String, Command> commands() {
        return Map.of("recall", new Recall());
    }
}
