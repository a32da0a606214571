"""dramatiq's broker (Redis at $REDIS_URL) and its one actor.

dramatiq wants both at module level: importing this module is what registers them. The
middleware are those of dramatiq that authentik names in its settings, which leaves out
dramatiq's own Prometheus server, and one that starts as many fork processes.
"""

import os
import signal
import time
from collections.abc import Callable

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

from events import record


def idle() -> None:
    """Body of a fork process: sit there until a signal comes."""
    signal.pause()


class Forks(Middleware):
    """Three processes beside the workers, as authentik's health, status and metrics."""

    @property
    def forks(self) -> list[Callable[[], None]]:
        """What dramatiq's main process is to run, one process each."""
        return [idle, idle, idle]


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
