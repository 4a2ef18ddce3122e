"""The `boveda` command."""
