"""The shop's own systems, which say what happened. They know nothing of the functions."""
