package dev.bolide.e2e;

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.remoting.RemotingClient;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/**
 * Requests that must be refused, each with its code, and after each a good send over the very same connection. The client
 * checks sizes and names itself, so its limit is raised for the first and the others go through its remoting layer by hand.
 */
final class Errors implements Command {
    private static final int SEND_MESSAGE_V2 = 310;
    private static final int NO_SUCH_CODE = 9999;
    private static final int CODE_NOT_SUPPORTED = 3;
    private static final int MESSAGE_ILLEGAL = 13;
    private static final int INVALID_PARAMETER = 29;

    private Context context;
    private DefaultMQProducer producer;
    private String topic;
    private boolean good = true;

    @Override
    public boolean run(Args args, Context given) throws Exception {
        context = given;
        topic = args.text("topic");
        int big = args.integer("big", 5 * 1024 * 1024);
        producer = context.configure(new DefaultMQProducer(args.text("group", "bolide-e2e-errors")));
        producer.setMaxMessageSize(2 * big);
        producer.setSendMsgTimeout(10_000);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        args.refuseUnknown();
        producer.start();
        try {
            String address = send("before", null);
            String local = localAddress(address);

            tooBig(big);
            send("after-too-big", local);
            refused("bad-topic", address, SEND_MESSAGE_V2, sendHeader("bad topic/name", 0), INVALID_PARAMETER);
            send("after-bad-topic", local);
            refused("long-topic", address, SEND_MESSAGE_V2, sendHeader("t".repeat(200), 0), INVALID_PARAMETER);
            send("after-long-topic", local);
            refused("bad-queue", address, SEND_MESSAGE_V2, sendHeader(topic, 999), INVALID_PARAMETER);
            send("after-bad-queue", local);
            refused("unknown-code", address, NO_SUCH_CODE, new HashMap<>(), CODE_NOT_SUPPORTED);
            send("after-unknown-code", local);
        } finally {
            producer.shutdown();
        }
        context.events.emit("done", "good", good);
        return good;
    }

    private void tooBig(int size) throws Exception {
        try {
            SendResult result = producer.send(new Message(topic, Body.make("too-big", size, false)));
            report("too-big", 0, MESSAGE_ILLEGAL, String.valueOf(result.getSendStatus()));
        } catch (org.apache.rocketmq.client.exception.MQBrokerException e) {
            report("too-big", e.getResponseCode(), MESSAGE_ILLEGAL, e.getErrorMessage());
        }
    }

    private void refused(String what, String address, int code, Map<String, String> header, int expected) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        request.setExtFields(new HashMap<>(header));
        request.setBody(Body.make(what, 0, false));
        RemotingCommand response = remoting().invokeSync(address, request, 5000);
        report(what, response.getCode(), expected, response.getRemark());
    }

    private void report(String what, int code, int expected, String remark) {
        good &= code == expected;
        context.events.emit("refused", "what", what, "code", code, "expected", expected, "remark", remark);
    }

    /** A normal send; returns the broker's address. With {@code local} the connection must still be that one. */
    private String send(String label, String local) throws Exception {
        Message message = new Message(topic, Body.make(label, 0, false));
        SendResult result = producer.send(message);
        String address = instance().findBrokerAddressInPublish(result.getMessageQueue().getBrokerName());
        String now = localAddress(address);
        boolean same = local == null || Objects.equals(local, now);
        good &= same && result.getSendStatus() == SendStatus.SEND_OK;
        context.events.emit("sent", "label", label, "status", result.getSendStatus().name(), "broker", address, "local", now, "sameConnection", same);
        return address;
    }

    private MQClientInstance instance() {
        return producer.getDefaultMQProducerImpl().getmQClientFactory();
    }

    private RemotingClient remoting() {
        return instance().getMQClientAPIImpl().getRemotingClient();
    }

    /** Our end of the client's connection to {@code address}; only its private table knows. */
    private String localAddress(String address) throws ReflectiveOperationException {
        RemotingClient remoting = remoting();
        Field table = remoting.getClass().getDeclaredField("channelTables");
        table.setAccessible(true);
        Object wrapper = ((Map<?, ?>) table.get(remoting)).get(address);
        Method channel = wrapper.getClass().getDeclaredMethod("getChannel");
        channel.setAccessible(true);
        Object netty = channel.invoke(wrapper);
        Method local = Class.forName("io.netty.channel.Channel").getMethod("localAddress");
        return String.valueOf(local.invoke(netty));
    }

    private static Map<String, String> sendHeader(String topic, int queueId) {
        Map<String, String> header = new HashMap<>();
        header.put("a", "bolide-e2e-errors");
        header.put("b", topic);
        header.put("c", "TBW102");
        header.put("d", "4");
        header.put("e", String.valueOf(queueId));
        header.put("f", "0");
        header.put("g", String.valueOf(System.currentTimeMillis()));
        header.put("h", "0");
        header.put("i", "");
        header.put("j", "0");
        header.put("k", "false");
        header.put("m", "false");
        return header;
    }
}
