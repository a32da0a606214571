"""Stand-in for authentik's package of the same name: gunicorn's side of it."""
