"""gunicorn's settings, with authentik's values.

gunicorn takes every module variable here that bears a setting's name. As in authentik,
running this file *is* the long part of a start: there it waits for the database and
migrates, here it sleeps REAL_BOOT_DELAY seconds, and fails if REAL_BOOT_FAILS is set. All of that comes before gunicorn has
signal handlers, a pid file or a socket.
"""

import os
import time
from pathlib import Path
from tempfile import gettempdir

from events import record


def number(name: str, default: int) -> int:
    """Whole number from the environment."""
    return int(os.environ.get(name) or default)


def make_directory(path: Path) -> str:
    """Create the directory if missing; return its name."""
    path.mkdir(parents=True, exist_ok=True)
    return str(path)


def migrate() -> None:
    """Take as long as a migration would."""
    record("gunicorn", "config begin")
    time.sleep(float(os.environ.get("REAL_BOOT_DELAY") or 0))
    if os.environ.get("REAL_BOOT_FAILS"):
        raise RuntimeError("a migration that fails")
    record("gunicorn", "config end")


bind = f"unix://{Path(gettempdir()) / 'authentik-core.sock'}"
worker_tmp_dir = make_directory(Path(gettempdir()) / "authentik_gunicorn_tmp")
worker_class = "lifecycle.worker.DjangoUvicornWorker"
preload_app = True
workers = number("AUTHENTIK_WEB__WORKERS", 2)
threads = number("AUTHENTIK_WEB__THREADS", 4)
max_requests = number("AUTHENTIK_WEB__MAX_REQUESTS", 1000)
max_requests_jitter = number("AUTHENTIK_WEB__MAX_REQUESTS_JITTER", 50)

migrate()
