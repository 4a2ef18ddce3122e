"""Sealing: pure construction and format (`stream`, `envelope`), and who holds keys (`keyring`)."""
