"""Stand-in for authentik: just its version and an ASGI application."""

VERSION = "2026.2.2"
