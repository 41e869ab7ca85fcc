"""`python -m api_smoothing`: the same as `api-smooth`."""

import sys

from api_smoothing.cli import main

if __name__ == "__main__":
    sys.exit(main())
