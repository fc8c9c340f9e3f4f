"""The checks of `selftest`, one module per client family."""
