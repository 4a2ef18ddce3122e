"""A home's folder, and what it says is to run."""
