package dev.bolide.e2e;

import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Looks messages up in the key index and by id. */
final class Query {
    private Query() { }

    private static DefaultMQProducer producer(Args args, Context context) throws Exception {
        DefaultMQProducer producer = context.configure(new DefaultMQProducer(args.text("group", "bolide-e2e-query")));
        args.refuseUnknown();
        producer.start();
        return producer;
    }

    /** Prints all messages of a topic that carry a key, in the answer's order. */
    static final class ByKey implements Command {
        @Override
        public boolean run(Args args, Context context) throws Exception {
            String topic = args.text("topic");
            String key = args.text("key");
            int max = args.integer("max", 64);
            long begin = args.number("begin-ms", 0);
            long end = args.number("end-ms", Long.MAX_VALUE);
            boolean properties = args.flag("properties");
            DefaultMQProducer producer = producer(args, context);
            try {
                QueryResult result = producer.queryMessage(topic, key, max, begin, end);
                for (MessageExt message : result.getMessageList()) {
                    context.events.emit("message", Received.fields(message, properties));
                }
                context.events.emit("done", "found", result.getMessageList().size(), "indexUpdatedMs", result.getIndexLastUpdateTimestamp());
                return true;
            } catch (Exception e) {
                // The client turns an empty answer into an exception with code 17 or 208.
                context.events.failure("failed", e);
                return false;
            } finally {
                producer.shutdown();
            }
        }
    }

    /** Both kinds of id: the offset id made by the broker and the unique one made by the client. */
    static final class ById implements Command {
        @Override
        public boolean run(Args args, Context context) throws Exception {
            String topic = args.text("topic");
            String id = args.text("id");
            boolean properties = args.flag("properties");
            DefaultMQProducer producer = producer(args, context);
            try {
                MessageExt message = producer.viewMessage(topic, id);
                if (message == null) {
                    context.events.emit("done", "found", 0);
                    return false;
                }
                context.events.emit("message", Received.fields(message, properties));
                context.events.emit("done", "found", 1);
                return true;
            } catch (Exception e) {
                context.events.failure("failed", e);
                return false;
            } finally {
                producer.shutdown();
            }
        }
    }
}
