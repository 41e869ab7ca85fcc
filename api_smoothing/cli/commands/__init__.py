"""One module a command, found by name: SUMMARY, `add_arguments(parser)` and `run(args, argv) -> int`.

A command imports what it needs inside `run`, so that `api-smooth --help` stays quick.
"""
