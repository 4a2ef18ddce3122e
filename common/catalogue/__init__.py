"""The database's side: the truth about which copies should exist. `base` is the contract, `sql` the implementation."""
