"""What an operator orders, run under a lease."""
