package dev.bolide.e2e;

import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;

/** Entry point: picks the subcommand, keeps the client's own files out of the home folder, and turns results into exit codes. */
public final class Client {
    private Client() { }

    private static Map<String, Command> commands() {
        Map<String, Command> commands = new TreeMap<>(Map.of(
            "send", new Send(),
            "load", new Load(),
            "push", new Push(),
            "litepull", new LitePull(),
            "pull", new Pull(),
            "query-key", new Query.ByKey(),
            "view-id", new Query.ById(),
            "errors", new Errors()));
        commands.put("transaction", new Transaction());
        commands.put("request", new RequestReply.Request());
        commands.put("reply", new RequestReply.Reply());
        commands.put("filters", new Filters());
        commands.putAll(Extras.load().commands());
        return commands;
    }

    public static void main(String[] argv) {
        // The client's logger may write to System.out: only events may.
        Events events = new Events(new PrintStream(System.out, false, StandardCharsets.UTF_8));
        System.setOut(System.err);
        int code;
        try {
            code = run(argv, events);
        } catch (Args.Usage e) {
            System.err.println(e.getMessage());
            code = 2;
        } catch (Throwable e) {
            e.printStackTrace();
            events.failure("error", e);
            code = 1;
        }
        System.exit(code);
    }

    private static int run(String[] argv, Events events) throws Exception {
        String name = argv.length == 0 ? "" : argv[0];
        Args args = new Args(argv, Math.min(1, argv.length));
        keepHomeClean(args);
        Map<String, Command> commands = commands();
        Command command = commands.get(name);
        if (command == null) {
            throw new Args.Usage("usage: Client COMMAND --namesrv HOST:PORT [--timeout-s N] ...; commands: " + String.join(", ", commands.keySet()));
        }
        Context context = new Context(args, events);
        watch(context);
        return command.run(args, context) ? 0 : 1;
    }

    /** Nothing may run past its deadline by more than a little, whatever a client library blocks on. */
    private static void watch(Context context) {
        Thread watchdog = new Thread(() -> {
            try {
                Thread.sleep(Math.max(0, (context.deadlineNanos - System.nanoTime()) / 1_000_000) + 15_000);
            } catch (InterruptedException e) {
                return;
            }
            context.events.emit("error", "class", "Watchdog", "code", -1, "message", "still running 15 s after its deadline");
            Runtime.getRuntime().halt(1);
        }, "watchdog");
        watchdog.setDaemon(true);
        watchdog.start();
    }

    /** Log files and local offsets go to --state-dir, or to a folder that goes away at exit. Must run before any client class loads. */
    private static void keepHomeClean(Args args) throws IOException {
        String given = args.text("state-dir", null);
        Path dir;
        if (given != null) {
            dir = Files.createDirectories(Path.of(given));
        } else {
            dir = Files.createTempDirectory("bolide-java-client");
            Runtime.getRuntime().addShutdownHook(new Thread(() -> delete(dir)));
        }
        System.setProperty("user.home", dir.toString());
        System.setProperty("rocketmq.client.logRoot", dir.toString());
        System.setProperty("rocketmq.log.root", dir.toString());
        System.setProperty("rocketmq.client.localOffsetStoreDir", dir.resolve("offsets").toString());
    }

    private static void delete(Path dir) {
        try (Stream<Path> files = Files.walk(dir)) {
            for (Path file : (Iterable<Path>) files.sorted(Comparator.reverseOrder())::iterator) {
                Files.deleteIfExists(file);
            }
        } catch (IOException | UncheckedIOException e) {
            System.err.println("could not remove " + dir + ": " + e);
        }
    }
}
