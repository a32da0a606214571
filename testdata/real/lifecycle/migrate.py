"""Stand-in for the module that migrates: there is nothing to migrate here."""

from events import record

if __name__ == "__main__":
    record("python", "migrate")
