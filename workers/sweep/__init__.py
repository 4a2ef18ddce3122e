"""What ought to be done: found in the catalogue, and handed to the queue."""
