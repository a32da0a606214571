"""The gunicorn worker class; gunicorn.conf.py refers to it by name."""

from typing import Any

from uvicorn.workers import UvicornWorker


class DjangoUvicornWorker(UvicornWorker):
    """uvicorn inside gunicorn, with the same four choices that authentik makes."""

    CONFIG_KWARGS: dict[str, Any] = {
        "loop": "uvloop",
        "http": "httptools",
        "ws": "wsproto",
        "lifespan": "off",
    }
