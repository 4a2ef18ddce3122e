"""Bytes between files and the store, and how they go on after a break."""
