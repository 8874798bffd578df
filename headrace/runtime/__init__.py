"""What happens to an event between the log and the worker. Knows no broker by name."""
