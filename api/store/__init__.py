"""Bytes become sealed blobs on nodes, and those a committed version. Nothing of HTTP serving is known here."""
