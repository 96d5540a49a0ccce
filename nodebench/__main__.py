"""`python -m nodebench` is `nodebench`."""

from __future__ import annotations

import sys

from nodebench.cli import main

if __name__ == "__main__":
    sys.exit(main())
