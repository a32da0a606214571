"""Holds the ASGI application, at the place where the Go server tells gunicorn to look."""
