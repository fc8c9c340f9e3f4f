package dev.bolide.e2e;

/** One subcommand. */
public interface Command {
    /** True = exit code 0. An exception is printed as event "error" and gives exit code 1. */
    boolean run(Args args, Context context) throws Exception;
}
