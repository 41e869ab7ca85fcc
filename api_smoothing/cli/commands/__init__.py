"""One module a command, found by name: SUMMARY, `add_arguments(parser)` and `run(args, argv) -> int`.

A command imports what it needs inside `run`, so that its help comes at once. SUMMARY is a plain string on a line of its
own: `api-smooth --help` reads it off the file, and imports none of them.
"""
