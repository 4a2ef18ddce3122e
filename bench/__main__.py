"""`make bench`."""

from bench.prototype import main

main()
