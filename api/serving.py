"""The application as a server process imports it; settings come from the environment."""

from __future__ import annotations

import logging

from api.application import create_app
from api.settings import settings_from
from api.statement_lane import StatementLane

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

app = StatementLane(create_app(settings_from()))
