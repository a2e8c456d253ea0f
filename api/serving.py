"""The application as a server process imports it; settings come from the environment."""

from __future__ import annotations

from api.application import create_app
from api.settings import settings_from

app = create_app(settings_from())
