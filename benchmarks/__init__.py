"""What this package claims about its speed and its counting, measured: `python -m benchmarks --list`."""
