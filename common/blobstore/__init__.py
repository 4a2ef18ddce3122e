"""The nodes' side: one contract (`base`), two adapters, and a guard around them."""
