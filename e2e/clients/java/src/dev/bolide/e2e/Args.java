package dev.bolide.e2e;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** The command line: {@code --name value}, repeatable, and {@code --name} alone for a switch. An option nobody reads is an error. */
public final class Args {
    private final Map<String, List<String>> values = new LinkedHashMap<>();
    private final Set<String> read = new HashSet<>();

    public Args(String[] argv, int from) {
        for (int i = from; i < argv.length; i++) {
            if (!argv[i].startsWith("--")) {
                throw new Usage("expected an option, found: " + argv[i]);
            }
            String name = argv[i].substring(2);
            List<String> list = values.computeIfAbsent(name, n -> new ArrayList<>());
            if (i + 1 < argv.length && !argv[i + 1].startsWith("--")) {
                list.add(argv[++i]);
            } else {
                list.add("true");
            }
        }
    }

    /** A mistake on the command line: exit code 2. */
    public static final class Usage extends RuntimeException {
        private static final long serialVersionUID = 1L;

        public Usage(String message) {
            super(message);
        }
    }

    public List<String> all(String name) {
        read.add(name);
        return values.getOrDefault(name, List.of());
    }

    public boolean has(String name) {
        return !all(name).isEmpty();
    }

    public String text(String name, String otherwise) {
        List<String> list = all(name);
        return list.isEmpty() ? otherwise : list.get(list.size() - 1);
    }

    public String text(String name) {
        String value = text(name, null);
        if (value == null) {
            throw new Usage("--" + name + " is required");
        }
        return value;
    }

    public long number(String name, long otherwise) {
        String value = text(name, null);
        if (value == null) {
            return otherwise;
        }
        try {
            return Long.parseLong(value);
        } catch (NumberFormatException e) {
            throw new Usage("--" + name + " must be a whole number, not " + value);
        }
    }

    public int integer(String name, int otherwise) {
        return Math.toIntExact(number(name, otherwise));
    }

    public boolean flag(String name) {
        return Boolean.parseBoolean(text(name, "false"));
    }

    public String choice(String name, String... allowed) {
        String value = text(name, allowed[0]);
        for (String one : allowed) {
            if (one.equals(value)) {
                return value;
            }
        }
        throw new Usage("--" + name + " must be one of " + String.join(", ", allowed) + ", not " + value);
    }

    /** Called when a command has read all it knows, before it acts. */
    public void refuseUnknown() {
        for (String name : values.keySet()) {
            if (!read.contains(name)) {
                throw new Usage("unknown option --" + name);
            }
        }
    }
}
