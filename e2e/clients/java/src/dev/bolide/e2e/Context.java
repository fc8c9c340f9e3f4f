package dev.bolide.e2e;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;
import org.apache.rocketmq.client.ClientConfig;

/** What every subcommand needs: where events go, the name server, the deadline, the control lines on standard input. */
public final class Context {
    public final Events events;
    public final String namesrv;
    /** Monotonic nanoseconds at which the command gives up. */
    public final long deadlineNanos;
    private final String instance;
    /** How long the client waits for routes and the like; its default is 3 s. */
    private final int apiTimeoutMs;

    Context(Args args, Events events) {
        this.events = events;
        this.namesrv = args.text("namesrv");
        this.deadlineNanos = System.nanoTime() + args.number("timeout-s", 60) * 1_000_000_000L;
        this.instance = args.text("instance", null);
        this.apiTimeoutMs = args.integer("api-timeout-ms", 3000);
    }

    public boolean expired() {
        return System.nanoTime() >= deadlineNanos;
    }

    /** Name server address and, with --instance, a fixed instance name (clientId = address@instance). */
    public <T extends ClientConfig> T configure(T client) {
        client.setNamesrvAddr(namesrv);
        client.setMqClientApiTimeout(apiTimeoutMs);
        if (instance != null) {
            client.setInstanceName(instance);
        }
        return client;
    }

    /** Hands each line of standard input to {@code control}. The end of the input is not a command. */
    public void onLine(Consumer<String> control) {
        Thread reader = new Thread(() -> {
            try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
                for (String line = in.readLine(); line != null; line = in.readLine()) {
                    control.accept(line.trim());
                }
            } catch (IOException e) {
                System.err.println("standard input: " + e);
            }
        }, "stdin");
        reader.setDaemon(true);
        reader.start();
    }

    /** Sleeps, but not past the deadline. */
    public void sleep(long ms) throws InterruptedException {
        Thread.sleep(Math.max(0, Math.min(ms, (deadlineNanos - System.nanoTime()) / 1_000_000)));
    }
}
