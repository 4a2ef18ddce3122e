"""Copy rows in the tables: their work, their outcomes, their places."""
