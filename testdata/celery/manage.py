#!/usr/bin/env python
"""The worker of authentik up to 2025.6, as far as whoever starts it is concerned.

``python -m manage worker``   real Celery, with a heartbeat file, and no tasks

The broker is Redis, at REDIS_URL (unix:///PATH): with others Celery runs another loop, and its
timer elsewhere.
"""

import os
import sys
from pathlib import Path
from tempfile import gettempdir

from celery import Celery, bootsteps

BEAT = Path(gettempdir(), "authentik-worker")
EVERY = 10.0  # seconds, as authentik/root/celery.py has it


class Heartbeat(bootsteps.StartStopStep):
    """Touches the file now and every ten seconds, and removes it at the end."""

    requires = {"celery.worker.components:Timer"}

    def start(self, worker):
        BEAT.touch()
        worker.timer.call_repeatedly(EVERY, BEAT.touch)

    def stop(self, worker):
        BEAT.unlink(missing_ok=True)


app = Celery("authentik", broker=os.environ["REDIS_URL"].replace("unix", "redis+socket", 1))
app.steps["worker"].add(Heartbeat)

if __name__ == "__main__":
    if sys.argv[1:2] != ["worker"]:
        sys.exit(f"no such command: {sys.argv[1:]}")
    worker = app.Worker(autoscale=(2, 1), beat=True, schedule_filename=f"{gettempdir()}/celerybeat-schedule")
    worker.start()
    sys.exit(worker.exitcode)
