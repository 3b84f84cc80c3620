"""The `libhypeman` command: `python -m libhypeman` where it is not on the path."""

import sys

from libhypeman import _native


def main() -> None:
    """Runs the command that this process was started for, and ends it with its status."""
    sys.exit(_native.command(["libhypeman", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
