"""One database: its tables, connections, locks, and rows as values."""
