"""The values everything else speaks of. Pure."""
