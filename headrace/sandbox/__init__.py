"""Where a function runs: worker processes, their protocol and their limits. Knows nothing of brokers."""
