package dev.bolide.e2e;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.MessageQueueSelector;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** Sends {@code --count} messages in one of four modes and prints what the broker said to each. */
final class Send implements Command {
    private Args args;
    private Events events;
    private final AtomicInteger sent = new AtomicInteger();
    private final AtomicInteger failed = new AtomicInteger();

    @Override
    public boolean run(Args given, Context context) throws Exception {
        args = given;
        events = context.events;
        int count = args.integer("count", 1);
        int first = args.integer("first-seq", 0);
        int batch = args.integer("batch-size", count);
        long intervalMs = args.number("interval-ms", 0);
        String mode = args.choice("mode", "sync", "async", "oneway", "batch");
        DefaultMQProducer producer = producer(context);
        MessageTemplate template = new MessageTemplate(args);
        MessageQueueSelector selector = selector();
        args.refuseUnknown();

        producer.start();
        try {
            CountDownLatch answered = new CountDownLatch(mode.equals("async") ? count : 0);
            for (int seq = first; seq < first + count && !context.expired(); seq += mode.equals("batch") ? batch : 1) {
                switch (mode) {
                    case "batch" -> batch(producer, template, seq, Math.min(batch, first + count - seq));
                    case "async" -> async(producer, template.message(seq), seq, selector, answered);
                    case "oneway" -> oneway(producer, template.message(seq), seq, selector);
                    default -> sync(producer, template.message(seq), seq, selector);
                }
                if (intervalMs > 0) {
                    Thread.sleep(intervalMs);
                }
            }
            if (!answered.await(Math.max(0, context.deadlineNanos - System.nanoTime()), TimeUnit.NANOSECONDS)) {
                events.emit("timeout", "unanswered", answered.getCount());
            }
            if (mode.equals("oneway") || args.flag("trace")) {
                // Nothing tells when a one-way or a trace message has left the process; closing the connection at once could lose it.
                Thread.sleep(args.flag("trace") ? 3000 : 500);
            }
        } finally {
            producer.shutdown();
        }
        events.emit("done", "sent", sent.get(), "failed", failed.get());
        return sent.get() == count && failed.get() == 0;
    }

    private DefaultMQProducer producer(Context context) {
        boolean trace = args.flag("trace");
        DefaultMQProducer producer = context.configure(new DefaultMQProducer(args.text("group", "bolide-e2e-producer"), null, trace, null));
        producer.setSendMsgTimeout(args.integer("send-timeout-ms", 10_000));
        producer.setMaxMessageSize(args.integer("max-message-size", producer.getMaxMessageSize()));
        producer.setCompressMsgBodyOverHowmuch(args.integer("compress-over", producer.getCompressMsgBodyOverHowmuch()));
        producer.setDefaultTopicQueueNums(args.integer("topic-queues", producer.getDefaultTopicQueueNums()));
        int retries = args.integer("retries", 2);
        producer.setRetryTimesWhenSendFailed(retries);
        producer.setRetryTimesWhenSendAsyncFailed(retries);
        return producer;
    }

    /** --queue N: that queue. --shards N: sequence number modulo N is the sharding key, spread by its hash. */
    private MessageQueueSelector selector() {
        if (args.has("queue")) {
            int queue = args.integer("queue", 0);
            return (queues, message, seq) -> pick(queues, queue);
        }
        if (args.has("shards")) {
            int shards = args.integer("shards", 1);
            MessageQueueSelector byHash = new SelectMessageQueueByHash();
            return (queues, message, seq) -> byHash.select(queues, message, "shard-" + (Integer) seq % shards);
        }
        return null;
    }

    private static MessageQueue pick(List<MessageQueue> queues, int id) {
        return queues.stream().filter(q -> q.getQueueId() == id).findFirst()
            .orElseThrow(() -> new IllegalArgumentException("no queue " + id + " among " + queues));
    }

    private void sync(DefaultMQProducer producer, Message message, int seq, MessageQueueSelector selector) throws InterruptedException {
        try {
            success(seq, 1, message, selector == null ? producer.send(message) : producer.send(message, selector, seq));
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            failure(seq, e);
        }
    }

    private void async(DefaultMQProducer producer, Message message, int seq, MessageQueueSelector selector, CountDownLatch answered)
        throws InterruptedException {
        SendCallback callback = new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                success(seq, 1, message, result);
                answered.countDown();
            }

            @Override
            public void onException(Throwable cause) {
                failure(seq, cause);
                answered.countDown();
            }
        };
        try {
            if (selector == null) {
                producer.send(message, callback);
            } else {
                producer.send(message, selector, seq, callback);
            }
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            callback.onException(e);
        }
    }

    private void oneway(DefaultMQProducer producer, Message message, int seq, MessageQueueSelector selector) throws InterruptedException {
        try {
            if (selector == null) {
                producer.sendOneway(message);
            } else {
                producer.sendOneway(message, selector, seq);
            }
            sent.incrementAndGet();
            events.emit("sent", "seq", seq, "count", 1, "status", "ONEWAY", "crc", Body.crc(message.getBody()));
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            failure(seq, e);
        }
    }

    private void batch(DefaultMQProducer producer, MessageTemplate template, int from, int count) throws InterruptedException {
        List<Message> messages = new ArrayList<>();
        for (int seq = from; seq < from + count; seq++) {
            messages.add(template.message(seq));
        }
        try {
            success(from, count, messages.get(0), producer.send(messages));
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            failure(from, e);
        }
    }

    private void success(int seq, int count, Message message, SendResult result) {
        sent.addAndGet(count);
        MessageQueue queue = result.getMessageQueue();
        events.emit("sent", "seq", seq, "count", count, "status", result.getSendStatus().name(),
            "msgId", result.getMsgId(), "offsetMsgId", result.getOffsetMsgId(),
            "topic", queue.getTopic(), "broker", queue.getBrokerName(),
            "queueId", queue.getQueueId(), "queueOffset", result.getQueueOffset(),
            "regionId", result.getRegionId(), "recallHandle", Extras.load().recallHandle(result),
            "size", message.getBody().length, "crc", Body.crc(message.getBody()));
    }

    private void failure(int seq, Throwable cause) {
        failed.incrementAndGet();
        events.failure("failed", cause, "seq", seq);
    }
}
