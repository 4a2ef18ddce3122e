"""The commands of `boveda`, a file for each family."""
