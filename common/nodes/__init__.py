"""The storage nodes as one process sees them: health, identity, and which of them to use."""
