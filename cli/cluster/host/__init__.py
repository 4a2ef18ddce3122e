"""This machine: processes, ports, files, locks, and whether a server answers."""
