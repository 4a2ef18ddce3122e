"""The addresses of the API: each parses, calls a use case, and shapes the answer."""
