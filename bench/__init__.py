"""Load and comparison. Every figure says what ran, where and how often; nothing here is a test with a time limit."""
