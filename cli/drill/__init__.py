"""`boveda drill`: the embedded cluster broken on purpose."""
