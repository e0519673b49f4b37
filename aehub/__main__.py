"""`python -m aehub` is the `aehub` command."""

from __future__ import annotations

from aehub.cli import main

if __name__ == "__main__":
    main(prog_name="aehub")
