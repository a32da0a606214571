"""``python -m enqueue NAME SECONDS``: put one task on the queue."""

import sys

from tasks import work


def main(arguments: list[str]) -> int:
    """Enqueue; 2 if called the wrong way."""
    if len(arguments) != 2:
        print("usage: python -m enqueue NAME SECONDS", file=sys.stderr)
        return 2
    name, seconds = arguments
    work.send(float(seconds), name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
