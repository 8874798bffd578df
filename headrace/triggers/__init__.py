"""Where events come from: brokers, and what else may start a function."""
