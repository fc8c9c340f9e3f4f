package dev.bolide.e2e.v5;

import dev.bolide.e2e.Args;
import dev.bolide.e2e.Command;
import dev.bolide.e2e.Context;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** Takes a timer message back before it is delivered, by the handle its sender got. */
final class Recall implements Command {
    @Override
    public boolean run(Args args, Context context) throws Exception {
        DefaultMQProducer producer = context.configure(new DefaultMQProducer(args.text("group", "bolide-e2e-recall")));
        String topic = args.text("topic");
        String handle = args.text("handle");
        args.refuseUnknown();
        producer.start();
        try {
            String id = producer.recallMessage(topic, handle);
            context.events.emit("recalled", "msgId", id);
            return true;
        } catch (Exception e) {
            context.events.failure("failed", e);
            return false;
        } finally {
            producer.shutdown();
        }
    }
}
