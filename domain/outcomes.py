"""Outcomes of gates, verdicts of runs, and the reasons both carry.

Precedence is ``fail > abstain (of a required gate) > borderline > pass``: a check that could not be made is
never overwritten by one that passed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Outcome(enum.StrEnum):
    """What one gate said about one window or one run."""

    PASS = "pass"
    BORDERLINE = "borderline"
    FAIL = "fail"
    ABSTAIN = "abstain"


class Reason(enum.StrEnum):
    """Why a gate did not simply pass.

    The first block follows the names of LwM2M object 509 (quality reason codes 0-15), the second is ours
    (vendor range 128+).
    """

    NONE = "none"
    UNKNOWN = "unknown"
    UNDER_RANGE = "under_range"
    OVER_RANGE = "over_range"
    NOISY = "noisy"
    STUCK_VALUE = "stuck_value"
    STEP_TOO_HIGH = "step_too_high"
    CALIBRATION_EXPIRED = "calibration_expired"
    LACK_OF_DATA_SAMPLES = "lack_of_data_samples"
    OUT_OF_OPERATING_RANGE = "out_of_operating_range"

    CLOCK_DRIFT = "clock_drift"
    CLOCK_STEP = "clock_step"
    CLOCK_QUALITY_UNKNOWN = "clock_quality_unknown"
    COHERENCE_LOST = "coherence_lost"
    CLIPPED = "clipped"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    MISALIGNED = "misaligned"
    GAP = "gap"
    JITTER = "jitter"
    INSUFFICIENT_SEGMENTS = "insufficient_segments"
    CALIBRATION_UNKNOWN = "calibration_unknown"
    CALIBRATION_AGEING = "calibration_ageing"
    DELAY_UNRESOLVED = "delay_unresolved"
    ENVIRONMENT_MISMATCH = "environment_mismatch"
    PROCEDURE_FAILED = "procedure_failed"
    NON_FINITE = "non_finite"
    NOT_MEASURED = "not_measured"
    LIMIT_EXCEEDED = "limit_exceeded"
    NEAR_LIMIT = "near_limit"
    SCHEMA_DRIFT = "schema_drift"
    IMPLAUSIBLE = "implausible"
    STALE = "stale"
    RECALLED = "recalled"
    ERASED = "erased"
    REVISION_SUPERSEDED = "revision_superseded"


_RANK = {Outcome.PASS: 0, Outcome.BORDERLINE: 1, Outcome.ABSTAIN: 2, Outcome.FAIL: 3}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome that outranks the others; ``PASS`` of nothing would be a claim, so nothing is
    ``ABSTAIN``."""
    return max(outcomes, key=_RANK.__getitem__, default=Outcome.ABSTAIN)
