# None: the bed has no database of its own.
