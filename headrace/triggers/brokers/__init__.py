"""One folder per broker, each an implementation of `headrace.runtime.ports`."""
