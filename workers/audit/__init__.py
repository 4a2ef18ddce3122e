"""What lies on a node, held against the catalogue."""
