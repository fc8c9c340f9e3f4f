package dev.bolide.e2e;

import java.util.Map;
import java.util.ServiceLoader;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** Where the 4.x and the 5.x client differ. Each build provides one, found by the service loader. */
public interface Extras {
    static Extras load() {
        return ServiceLoader.load(Extras.class).findFirst()
            .orElseThrow(() -> new IllegalStateException("this build provides no Extras"));
    }

    /** Every instance gets every message; the offsets are files of the client. */
    void broadcast(DefaultMQPushConsumer consumer);

    /** Arbitrary delay on a message. Exactly one of the three is positive. */
    default void timer(Message message, long delayMs, long delaySeconds, long deliverAtMs) {
        throw new Args.Usage("this client has no timer messages");
    }

    /** The handle by which a timer message can be recalled, or null. */
    default String recallHandle(SendResult result) {
        return null;
    }

    /** Lets the broker assign queues, which is how a push consumer comes to pop. */
    default void brokerAssigns(DefaultMQPushConsumer consumer, long invisibleMs) {
        throw new Args.Usage("this client cannot pop");
    }

    /** Further subcommands. */
    default Map<String, Command> commands() {
        return Map.of();
    }
}
