"""The queue's side: names and payloads of the work that is handed over, and who carries it."""
