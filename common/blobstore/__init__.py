"""The nodes' side: one contract (`base`), two adapters, a guard around them, and the probes of `health`."""
