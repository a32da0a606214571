"""What of PostgreSQL matters here: whether somebody listens where it should."""

import os
import socket


def answers() -> bool:
    """Whether $REAL_DATABASE, HOST:PORT, takes a connection within a second; unset: yes.

    authentik's ready question is a statement to each of its databases. This is less: no
    client of PostgreSQL is among the requirements.
    """
    host, _, port = os.environ.get("REAL_DATABASE", "").rpartition(":")
    if not port:
        return True
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
