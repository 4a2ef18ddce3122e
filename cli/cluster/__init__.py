"""The embedded cluster: what `boveda up` starts, watches and ends."""
