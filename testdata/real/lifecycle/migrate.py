"""Stand-in for the module that migrates: there is nothing to migrate here.

With $REAL_PSQL, the path of psql, it waits for authentik's advisory lock, 1000, as the real
one does before anything else (lifecycle/migrate.py, wait_for_lock), and lets go of it.
"""

import os
import subprocess

from events import record


def wait_for_lock(psql: str) -> None:
    """Return when the lock has been had."""
    host, port = (os.environ["AUTHENTIK_POSTGRESQL__" + name] for name in ("HOST", "PORT"))
    environment = {**os.environ, "PGPASSWORD": os.environ["POSTGRES_PASSWORD"], "PGAPPNAME": "authentik-migrate"}
    lock = "select pg_advisory_lock(1000)"
    words = ["-Xqo", "/dev/null", "-h", host, "-p", port, "-U", "authentik", "-d", "authentik", "-c", lock]
    subprocess.run([psql, *words], check=True, env=environment)


if __name__ == "__main__":
    if os.environ.get("REAL_PSQL"):
        wait_for_lock(os.environ["REAL_PSQL"])
    record("python", "migrate")
