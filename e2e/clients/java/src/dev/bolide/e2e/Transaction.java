package dev.bolide.e2e;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Transactional sends. --state gives what the local transaction says per message in turn, --check what the check-back says.
 * With an unknown state the program waits until every such message was checked, or it is stopped or out of time.
 */
final class Transaction implements Command {
    private static final Map<String, LocalTransactionState> STATES = Map.of(
        "commit", LocalTransactionState.COMMIT_MESSAGE,
        "rollback", LocalTransactionState.ROLLBACK_MESSAGE,
        "unknown", LocalTransactionState.UNKNOW);

    private final AtomicInteger checks = new AtomicInteger();
    private final Map<String, Boolean> decided = new ConcurrentHashMap<>();

    @Override
    public boolean run(Args args, Context context) throws Exception {
        int count = args.integer("count", 1);
        List<String> states = args.has("state") ? args.all("state") : List.of("commit");
        List<String> answers = args.has("check") ? args.all("check") : List.of("commit");
        boolean dontWait = args.flag("no-wait");
        MessageTemplate template = new MessageTemplate(args);
        TransactionMQProducer producer = context.configure(new TransactionMQProducer(args.text("group", "bolide-e2e-transaction")));
        args.refuseUnknown();
        states.forEach(Transaction::state);
        answers.forEach(Transaction::state);

        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object seq) {
                return state(states.get((Integer) seq % states.size()));
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                LocalTransactionState answer = state(answers.get(Math.min(checks.getAndIncrement(), answers.size() - 1)));
                context.events.emit("check", Received.fields(message, true, "transactionId", message.getTransactionId(), "answer", answer.name()));
                if (answer != LocalTransactionState.UNKNOW) {
                    decided.put(message.getTransactionId(), true);
                }
                return answer;
            }
        });
        producer.start();
        AtomicBoolean stop = new AtomicBoolean();
        context.onLine(line -> stop.compareAndSet(false, line.equals("stop")));
        int unknown = 0;
        int failed = 0;
        for (int seq = 0; seq < count; seq++) {
            try {
                TransactionSendResult result = producer.sendMessageInTransaction(template.message(seq), seq);
                unknown += result.getLocalTransactionState() == LocalTransactionState.UNKNOW ? 1 : 0;
                context.events.emit("sent", "seq", seq, "status", result.getSendStatus().name(), "state", result.getLocalTransactionState().name(),
                    "msgId", result.getMsgId(), "offsetMsgId", result.getOffsetMsgId(), "transactionId", result.getTransactionId(),
                    "broker", result.getMessageQueue().getBrokerName(), "queueId", result.getMessageQueue().getQueueId(),
                    "queueOffset", result.getQueueOffset());
            } catch (Exception e) {
                failed++;
                context.events.failure("failed", e, "seq", seq);
            }
        }
        while (!dontWait && decided.size() < unknown && !stop.get() && !context.expired()) {
            Thread.sleep(100);
        }
        // The end of a transaction is sent one way: give it time to leave before the connection is closed.
        Thread.sleep(500);
        producer.shutdown();
        context.events.emit("done", "sent", count - failed, "failed", failed, "unknown", unknown, "checked", decided.size(), "checks", checks.get());
        return failed == 0 && (dontWait || stop.get() || decided.size() >= unknown);
    }

    private static LocalTransactionState state(String name) {
        LocalTransactionState state = STATES.get(name);
        if (state == null) {
            throw new Args.Usage("a transaction state is commit, rollback or unknown, not " + name);
        }
        return state;
    }
}
