"""What gunicorn loads, in each process after the fork."""

from api import create_app
from api.wiring import build
from common.settings import load

app = create_app(build(load()))
