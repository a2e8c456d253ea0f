"""Mappers: procedures that turn a provider's payload into normalised records."""

from domain.health.mappers.oura_daily_activity import OURA_DAILY_ACTIVITY_1_0
from domain.health.mappers.oura_sleep import OURA_SLEEP_1_0, OURA_SLEEP_1_1
from domain.procedures.procedure import Procedure

MAPPERS: tuple[Procedure, ...] = (OURA_SLEEP_1_0, OURA_SLEEP_1_1, OURA_DAILY_ACTIVITY_1_0)
"""Every mapper version there is; none is ever removed, because receipts are replayed with the version that
made them.
"""

__all__ = ["MAPPERS"]
