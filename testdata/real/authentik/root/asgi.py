"""ASGI application that answers any path.

``/-/health/live/``                        200, not recorded: probes come each second
``/-/health/ready/``                       the same, but 503 while the database is away
``/pid``                                   200 and the worker's process id
``/slow?for=SECONDS``                      200 ``done`` after an asynchronous sleep
``/slow?for=SECONDS&sync=1``               the same, asleep in a thread of the worker's
                                           pool, where Django runs synchronous views
``/wedge``                                 blocks the worker's event loop for an hour: it
                                           accepts on, and answers nobody
anything else                              200 ``ok``

"request end" is recorded once the answer is handed to uvicorn, whether or not the
client is still there to read it.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import database
from events import record

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def answer(path: str, query: str) -> str:
    """Body of the answer, after as long as the path asks for."""
    if path == "/pid":
        return str(os.getpid())
    if path == "/wedge":
        time.sleep(3600)
    if path != "/slow":
        return "ok"
    fields = parse_qs(query)
    seconds = float(fields.get("for", ["0"])[0])
    if fields.get("sync") == ["1"]:
        await asyncio.to_thread(time.sleep, seconds)
    else:
        await asyncio.sleep(seconds)
    return "done"


async def respond(send: Send, body: str, status: int = 200) -> None:
    """Send a complete response."""
    content = body.encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Entry point for gunicorn: ``authentik.root.asgi:application``."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})  # before the handshake: a 403
        return
    path, query = scope["path"], scope["query_string"].decode("latin-1")
    if path.startswith("/-/health/"):
        # Whatever the question, the middleware in front of it asks the database first
        # (authentik/tenants/middleware.py): without one it is Django's 500.
        well = await asyncio.to_thread(database.answers)
        await respond(send, *(("ok",) if well else ("no database", 500)))
        return
    target = f"{path}?{query}" if query else path
    record("gunicorn", f"request begin {target}")
    await respond(send, await answer(path, query))
    record("gunicorn", f"request end {target}")
