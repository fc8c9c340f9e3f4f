package dev.bolide.e2e;

import java.io.PrintStream;
import java.util.Collection;
import java.util.Map;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;

/** Writes one JSON object a line; the only writer of standard output. */
public final class Events {
    private final PrintStream out;

    public Events(PrintStream out) {
        this.out = out;
    }

    /** {@code fields} are name, value, name, value, ... A null value leaves the field out. */
    public void emit(String event, Object... fields) {
        StringBuilder line = new StringBuilder(256).append("{\"event\":");
        write(line, event);
        for (int i = 0; i < fields.length; i += 2) {
            if (fields[i + 1] != null) {
                line.append(',');
                write(line, fields[i]);
                line.append(':');
                write(line, fields[i + 1]);
            }
        }
        line.append("}\n");
        synchronized (out) {
            out.print(line);
            out.flush();
        }
    }

    /** An event that also tells of a failure: fields class, code (response code, -1 if there is none), message. */
    public void failure(String event, Throwable cause, Object... fields) {
        Object[] all = new Object[fields.length + 6];
        System.arraycopy(fields, 0, all, 0, fields.length);
        int at = fields.length;
        all[at++] = "class";
        all[at++] = cause.getClass().getSimpleName();
        all[at++] = "code";
        all[at++] = code(cause);
        all[at++] = "message";
        all[at] = String.valueOf(cause.getMessage());
        emit(event, all);
    }

    /** The broker's response code behind an exception, or -1. */
    public static int code(Throwable cause) {
        for (Throwable t = cause; t != null; t = t.getCause()) {
            if (t instanceof MQBrokerException e) {
                return e.getResponseCode();
            }
            if (t instanceof MQClientException e && e.getResponseCode() > 0) {
                return e.getResponseCode();
            }
        }
        return -1;
    }

    private static void write(StringBuilder line, Object value) {
        if (value instanceof Number || value instanceof Boolean) {
            line.append(value);
        } else if (value instanceof Map<?, ?> map) {
            String comma = "";
            line.append('{');
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                line.append(comma);
                write(line, String.valueOf(entry.getKey()));
                line.append(':');
                write(line, entry.getValue());
                comma = ",";
            }
            line.append('}');
        } else if (value instanceof Collection<?> list) {
            String comma = "";
            line.append('[');
            for (Object one : list) {
                line.append(comma);
                write(line, one);
                comma = ",";
            }
            line.append(']');
        } else if (value == null) {
            line.append("null");
        } else {
            quote(line, value.toString());
        }
    }

    private static void quote(StringBuilder line, String text) {
        line.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                line.append('\\').append(c);
            } else if (c < 0x20 || c > 0x7e) {
                line.append(String.format("\\u%04x", (int) c));
            } else {
                line.append(c);
            }
        }
        line.append('"');
    }
}
