"""Stand-in for the module that waits for the database: there is none here."""

from events import record

if __name__ == "__main__":
    record("python", "wait for database")
