"""What the sandbox asks of the kernel beyond the standard library: ctypes only, no privilege needed."""
