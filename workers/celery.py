"""The application for `celery -A workers.celery worker|beat|flower`."""

from common.queue.celery import make_app
from common.settings import load
from workers.tasks import register

app = register(make_app(load()))
