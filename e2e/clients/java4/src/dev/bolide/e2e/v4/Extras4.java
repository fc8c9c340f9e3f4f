package dev.bolide.e2e.v4;

import dev.bolide.e2e.Extras;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;

/** The 4.x client. */
public final class Extras4 implements Extras {
    @Override
    public void broadcast(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }
}
