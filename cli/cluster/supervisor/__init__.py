"""The parent of a cluster's processes."""
