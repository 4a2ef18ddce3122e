"""Sockets and slow clients: what of a client's time costs no thread, and how long one may take. Without Flask."""
