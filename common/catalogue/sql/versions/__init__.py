"""Buckets, versions and uploads in the tables."""
