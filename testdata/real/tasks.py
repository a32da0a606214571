"""dramatiq's broker (Redis at $REDIS_URL) and its one actor.

dramatiq wants both at module level: importing this module is what registers them. The
middleware are those of dramatiq that authentik names in its settings, which leaves out
dramatiq's own Prometheus server, and one that starts as many fork processes.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    Middleware,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)

import database
from events import record


class Health(BaseHTTPRequestHandler):
    """Answers every path alike, as authentik's does while its database answers."""

    def do_HEAD(self) -> None:
        """200, or 503 while the database is away."""
        self.send_response(200 if database.answers() else 503)
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        """Stay silent: probes come each second."""


def health() -> None:
    """Body of the health server's process: only a warning where its port is taken."""
    host, _, port = os.environ.get("AUTHENTIK_LISTEN__HTTP", "0.0.0.0:9000").rpartition(":")
    try:
        HTTPServer((host, int(port)), Health).serve_forever()
    except OSError as error:
        logging.getLogger("health").warning("Port is already in use, not starting healthcheck server: %s", error)
        idle()


def idle() -> None:
    """Body of a fork process: sit there until a signal comes."""
    signal.pause()


class Forks(Middleware):
    """Three processes beside the workers, as authentik's health, status and metrics."""

    @property
    def forks(self) -> list[Callable[[], None]]:
        """What dramatiq's main process is to run, one process each."""
        return [health, idle, idle]


def make_broker() -> RedisBroker:
    """Broker with authentik's limits: five retries, ten minutes per task."""
    middleware = [
        AgeLimit(),
        TimeLimit(time_limit=10 * 60 * 1000),
        ShutdownNotifications(),
        Callbacks(),
        Pipelines(),
        Retries(max_retries=5),
        Forks(),
    ]
    return RedisBroker(url=os.environ["REDIS_URL"], middleware=middleware)


dramatiq.set_broker(make_broker())


@dramatiq.actor
def work(seconds: float, name: str) -> None:
    """Take some time, and record begin and end."""
    record("dramatiq", f"task begin {name}")
    time.sleep(seconds)
    record("dramatiq", f"task end {name}")
