package dev.bolide.e2e;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByRandom;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Request and reply over topics: the requester waits for the answer that the replier sends straight back to it. */
final class RequestReply {
    private RequestReply() { }

    /** Sends requests one after the other. */
    static final class Request implements Command {
        @Override
        public boolean run(Args args, Context context) throws Exception {
            int count = args.integer("count", 1);
            long waitMs = args.number("wait-ms", 10_000);
            boolean toQueue = args.choice("form", "selector", "selector", "queue").equals("queue");
            MessageTemplate template = new MessageTemplate(args);
            DefaultMQProducer producer = context.configure(new DefaultMQProducer(args.text("group", "bolide-e2e-request")));
            args.refuseUnknown();
            producer.start();
            int failed = 0;
            try {
                for (int seq = 0; seq < count; seq++) {
                    long start = System.nanoTime();
                    try {
                        Message reply = ask(producer, template.message(seq), toQueue, waitMs);
                        context.events.emit("reply", "seq", seq, "body", Body.label(reply.getBody()), "elapsedMs", (System.nanoTime() - start) / 1_000_000);
                    } catch (Exception e) {
                        failed++;
                        context.events.failure("failed", e, "seq", seq);
                    }
                }
            } finally {
                producer.shutdown();
            }
            context.events.emit("done", "replies", count - failed, "failed", failed);
            return failed == 0;
        }
    }

    /**
     * The asynchronous forms with a queue selector or a queue: in client 5.3.3 the others take the broker's answer to the send
     * for the reply and report a time-out at once.
     */
    private static Message ask(DefaultMQProducer producer, Message message, boolean toQueue, long waitMs) throws Exception {
        CompletableFuture<Message> reply = new CompletableFuture<>();
        RequestCallback callback = new RequestCallback() {
            @Override
            public void onSuccess(Message received) {
                reply.complete(received);
            }

            @Override
            public void onException(Throwable cause) {
                reply.completeExceptionally(cause);
            }
        };
        if (toQueue) {
            producer.request(message, producer.fetchPublishMessageQueues(message.getTopic()).get(0), callback, waitMs);
        } else {
            producer.request(message, new SelectMessageQueueByRandom(), null, callback, waitMs);
        }
        return reply.get(waitMs + 5000, TimeUnit.MILLISECONDS);
    }

    /** Answers every request with "re:" and its label, until it is stopped or has answered --expect of them. */
    static final class Reply implements Command {
        @Override
        public boolean run(Args args, Context context) throws Exception {
            String group = args.text("group");
            long expect = args.number("expect", -1);
            DefaultMQProducer producer = context.configure(new DefaultMQProducer(group + "-replier"));
            DefaultMQPushConsumer consumer = context.configure(new DefaultMQPushConsumer(group));
            consumer.subscribe(args.text("topic"), "*");
            args.refuseUnknown();
            AtomicInteger answered = new AtomicInteger();
            AtomicInteger failed = new AtomicInteger();
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, queue) -> {
                for (MessageExt message : messages) {
                    String body = "re:" + Body.label(message.getBody());
                    try {
                        SendResult result = producer.send(MessageUtil.createReplyMessage(message, Body.make(body, 0, false)), 3000);
                        answered.incrementAndGet();
                        context.events.emit("replied", "body", body, "status", result.getSendStatus().name());
                    } catch (Exception e) {
                        failed.incrementAndGet();
                        context.events.failure("failed", e, "body", body);
                    }
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            AtomicBoolean stop = new AtomicBoolean();
            producer.start();
            consumer.start();
            context.onLine(line -> stop.compareAndSet(false, line.equals("stop")));
            context.events.emit("started", "clientId", consumer.buildMQClientId());
            while (!stop.get() && !context.expired() && (expect < 0 || answered.get() < expect)) {
                Thread.sleep(50);
            }
            consumer.shutdown();
            producer.shutdown();
            context.events.emit("stopped", "replies", answered.get(), "failed", failed.get());
            return failed.get() == 0 && (expect < 0 || answered.get() >= expect);
        }
    }
}
