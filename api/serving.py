"""The application as a server process imports it; settings come from the environment."""

from __future__ import annotations

import gc
import logging

from api.application import create_app
from api.open_files import raise_open_file_limit
from api.settings import settings_from
from api.statement_lane import StatementLane

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

raise_open_file_limit()
app = StatementLane(create_app(settings_from()))

# What a server makes by the thousand (requests, events, records) has no cycles and is gone in a moment.
# Looking for cycles among it every 700 objects cost a tenth of a request.
YOUNG_OBJECTS = 50_000
gc.freeze()
gc.set_threshold(YOUNG_OBJECTS, 20, 50)
