package dev.bolide.e2e;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Several senders, each with its own sequence, for tests that kill the broker meanwhile. Every acknowledged message is one
 * line of --out, written before the next message of that sender. A failed message is not sent again by this program (its fate
 * is unknown); the client's own retries stay on.
 */
final class Load implements Command {
    private final AtomicLong acknowledged = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();
    private final AtomicLong lastSuccess = new AtomicLong();
    private final AtomicLong longestGap = new AtomicLong();
    private final AtomicInteger shownFailures = new AtomicInteger();
    private final AtomicBoolean stop = new AtomicBoolean();

    @Override
    public boolean run(Args args, Context context) throws Exception {
        int senders = args.integer("senders", 4);
        int firstSender = args.integer("first-sender", 0);
        long seconds = args.number("seconds", 0);
        long count = args.number("count", seconds > 0 ? Long.MAX_VALUE : 1000);
        int size = args.integer("size", 128);
        int retries = args.integer("retries", 2);
        int sendTimeoutMs = args.integer("send-timeout-ms", 3000);
        boolean oneQueueEach = args.flag("one-queue-each");
        String topic = args.text("topic");
        String group = args.text("group", "bolide-e2e-load");
        Path file = Path.of(args.text("out"));
        args.refuseUnknown();

        DefaultMQProducer producer = context.configure(new DefaultMQProducer(group));
        producer.setRetryTimesWhenSendFailed(retries);
        producer.setSendMsgTimeout(sendTimeoutMs);
        producer.start();
        context.onLine(line -> stop.compareAndSet(false, line.equals("stop")));
        long start = System.nanoTime();
        long end = seconds > 0 ? Math.min(context.deadlineNanos, start + seconds * 1_000_000_000L) : context.deadlineNanos;
        lastSuccess.set(start);
        context.events.emit("started", "senders", senders);
        try (Writer out = Files.newBufferedWriter(file, StandardCharsets.UTF_8)) {
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < senders; i++) {
                int sender = firstSender + i;
                Thread thread = new Thread(() -> {
                    for (long seq = 0; seq < count && System.nanoTime() < end && !stop.get(); seq++) {
                        one(context.events, producer, topic, sender, seq, size, oneQueueEach, out);
                    }
                }, "sender-" + sender);
                thread.start();
                threads.add(thread);
            }
            long nextReport = start;
            for (Thread thread : threads) {
                while (thread.isAlive()) {
                    thread.join(100);
                    if (System.nanoTime() >= nextReport) {
                        nextReport += 1_000_000_000L;
                        context.events.emit("progress", "acked", acknowledged.get(), "failed", failed.get());
                    }
                }
            }
        } finally {
            producer.shutdown();
        }
        long now = System.nanoTime();
        noteGap(now);
        double elapsed = (now - start) / 1e9;
        context.events.emit("summary", "acked", acknowledged.get(), "failed", failed.get(),
            "seconds", elapsed, "rate", acknowledged.get() / elapsed, "longestGapMs", longestGap.get() / 1_000_000);
        return acknowledged.get() > 0;
    }

    private void one(Events events, DefaultMQProducer producer, String topic, int sender, long seq, int size, boolean oneQueue, Writer out) {
        String label = "s" + sender + "-" + seq;
        Message message = new Message(topic, null, label, Body.make(label, size, false));
        try {
            SendResult result = oneQueue
                ? producer.send(message, (queues, m, arg) -> queues.get(sender % queues.size()), null)
                : producer.send(message);
            MessageQueue queue = result.getMessageQueue();
            String line = sender + " " + seq + " " + result.getSendStatus() + " " + queue.getBrokerName() + " " + queue.getQueueId()
                + " " + result.getQueueOffset() + " " + result.getMsgId() + " " + result.getOffsetMsgId() + "\n";
            synchronized (out) {
                out.write(line);
                out.flush();
            }
            if (result.getSendStatus() == SendStatus.SEND_OK) {
                acknowledged.incrementAndGet();
                noteGap(System.nanoTime());
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            stop.set(true);
        } catch (IOException e) {
            stop.set(true);
            throw new UncheckedIOException(e);
        } catch (Exception e) {
            failed.incrementAndGet();
            if (shownFailures.incrementAndGet() <= 20) {
                events.failure("failed", e, "sender", sender, "seq", seq);
            }
            pause();
        }
    }

    /** An unreachable broker answers at once; without this the senders would spin through their sequence numbers. */
    private void pause() {
        try {
            Thread.sleep(20);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            stop.set(true);
        }
    }

    private void noteGap(long now) {
        long gap = now - lastSuccess.getAndSet(now);
        longestGap.accumulateAndGet(gap, Math::max);
    }
}
