"""The database's side: the truth about which copies should exist. `base` and its neighbours are the contract, a file
for each noun; `sql` is the implementation."""
