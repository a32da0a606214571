#!/usr/bin/env python
"""The two management commands that authentik's entry script runs itself.

``python -m manage worker --pid-file FILE [--watch]``   dramatiq, in this process
``python -m manage apply_blueprint PATH``               records the call, does nothing

Executable, like authentik's: on SIGHUP dramatiq stops and then executes this very file.
"""

import argparse
import logging
import os
import sys
from multiprocessing import set_start_method
from typing import NoReturn

from events import record


def number(name: str, default: int) -> int:
    """Whole number from the environment."""
    return int(os.environ.get(name) or default)


def run_worker(pid_file: str, watch: bool) -> NoReturn:
    """Become dramatiq's main process, with the arguments that authentik gives it."""
    from dramatiq.cli import main  # not for apply_blueprint: it imports gevent

    # authentik tells dramatiq to leave logging alone (skip_logging) and sets it up itself.
    logging.basicConfig(level=logging.INFO, format="%(process)d %(name)s %(message)s")
    set_start_method("fork")
    sys.exit(
        main(
            argparse.Namespace(
                broker="tasks",
                modules=[],
                path=["."],
                queues=None,
                processes=number("AUTHENTIK_WORKER__PROCESSES", 1),
                threads=number("AUTHENTIK_WORKER__THREADS", 2),
                pid_file=pid_file,
                worker_shutdown_timeout=600_000,
                forks=[],
                use_spawn=False,
                watch="./authentik" if watch else None,
                watch_use_polling=False,
                include_patterns=["**.py"],
                exclude_patterns=None,
                log_file=None,
                skip_logging=True,
                verbose=0,
            )
        )
    )


def main() -> int:
    """Parse the command line and run the command."""
    parser = argparse.ArgumentParser(prog="manage")
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker")
    worker.add_argument("--pid-file", required=True)
    worker.add_argument("--watch", action="store_true")
    blueprint = commands.add_parser("apply_blueprint")
    blueprint.add_argument("path")
    arguments = parser.parse_args()
    if arguments.command == "worker":
        run_worker(arguments.pid_file, arguments.watch)
    record("manage", f"apply_blueprint {arguments.path}")
    print(f"apply_blueprint {arguments.path}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
