"""Celery workers: ids in, a use case, nothing out. Without keys."""
