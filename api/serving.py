"""The application as a server process imports it; settings come from the environment."""

from __future__ import annotations

import logging

from api.application import create_app
from api.settings import settings_from

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

app = create_app(settings_from())
