"""Calibration age, and whether it is known what was calibrated at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from domain.outcomes import Reason
from domain.procedures.procedure import CalibrationInForce
from domain.quantise import quantise_score
from domain.signal.measured import Measured, missing


def age_ratio(calibration: CalibrationInForce | None, channels: Sequence[str], at_ns: int) -> Measured:
    """Age of the calibration at ``at_ns`` as a share of its validity: 0 when issued, above 1 when expired.

    Missing when there is no calibration, when one of ``channels`` has no constants or a sensor of unknown
    identity in it, or when it came into force later: a number that belongs to another sensor or time says
    nothing about this one.
    """
    if calibration is None:
        return missing(Reason.CALIBRATION_UNKNOWN)
    identified = {constants.channel for constants in calibration.channels if constants.sensor_serial}
    lifetime = calibration.valid_until_ns - calibration.issued_at_ns
    is_in_force = at_ns >= max(calibration.issued_at_ns, calibration.valid_from_ns)
    if not identified.issuperset(channels) or lifetime <= 0 or not is_in_force:
        return missing(Reason.CALIBRATION_UNKNOWN)
    return Measured(quantise_score((at_ns - calibration.issued_at_ns) / lifetime))


def full_scale_counts(calibration: CalibrationInForce | None, channel: str) -> float | None:
    """Full scale of a channel in counts, if the calibration states one that can be."""
    for constants in calibration.channels if calibration is not None else ():
        stated = constants.full_scale_counts
        if constants.channel == channel and stated is not None and 1.0 < stated < math.inf:
            return stated
    return None
