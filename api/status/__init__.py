"""What an operator sees: counts, dependencies, alerts, the processes, what a node's loss would mean."""
