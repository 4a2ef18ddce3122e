"""One claimed copy row, from its claim to its outcome."""
