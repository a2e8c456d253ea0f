"""Crosswalk: our outcomes and reasons in the words of other systems.

| ours | QARTOD | ILAC-G8:09/2019 | LwM2M 509 | Sparkplug B | Haystack | IEC 61850-7-3 |
|---|---|---|---|---|---|---|
| pass | 1 | pass | 4 | 192 | ok | good |
| borderline, within the guard band | 3 | conditional pass | 3 | - | stale | questionable |
| borderline, beyond the pass limit | 3 | conditional fail | 2 | - | stale | questionable |
| fail | 4 | fail | 1 | 0 | fault | invalid |
| abstain | 2, or 9 when data are missing | - | 0 | 500 | unknown | - |

A dash means that the other system has no word for it, and then nothing is said: a reader that knows only
good and bad must not be told good for borderline. LwM2M reason codes 0-15 are those of object 509 version
1.1; ours start at 128, where that registry leaves room for vendors, and once given are never given again.
"""

from __future__ import annotations

from msgspec import Struct

from domain.outcomes import Outcome, Reason

QARTOD_NOT_EVALUATED = 2
QARTOD_MISSING = 9

LWM2M_REASONS: dict[Reason, int] = {
    Reason.UNKNOWN: 0,
    Reason.UNDER_RANGE: 1,
    Reason.OVER_RANGE: 2,
    Reason.NOISY: 3,
    Reason.STUCK_VALUE: 4,
    Reason.STEP_TOO_HIGH: 5,
    Reason.CALIBRATION_EXPIRED: 6,
    Reason.LACK_OF_DATA_SAMPLES: 13,
    Reason.OUT_OF_OPERATING_RANGE: 14,
    Reason.CLOCK_DRIFT: 128,
    Reason.CLOCK_STEP: 129,
    Reason.CLOCK_QUALITY_UNKNOWN: 130,
    Reason.COHERENCE_LOST: 131,
    Reason.CLIPPED: 132,
    Reason.DUPLICATE: 133,
    Reason.OUT_OF_ORDER: 134,
    Reason.MISALIGNED: 135,
    Reason.GAP: 136,
    Reason.JITTER: 137,
    Reason.INSUFFICIENT_SEGMENTS: 138,
    Reason.CALIBRATION_UNKNOWN: 139,
    Reason.CALIBRATION_AGEING: 140,
    Reason.DELAY_UNRESOLVED: 141,
    Reason.ENVIRONMENT_MISMATCH: 142,
    Reason.PROCEDURE_FAILED: 143,
    Reason.NON_FINITE: 144,
    Reason.NOT_MEASURED: 145,
    Reason.LIMIT_EXCEEDED: 146,
    Reason.NEAR_LIMIT: 147,
    Reason.SCHEMA_DRIFT: 148,
    Reason.IMPLAUSIBLE: 149,
    Reason.STALE: 150,
    Reason.REVISION_SUPERSEDED: 151,
    Reason.RECALLED: 152,
    Reason.ERASED: 153,
}

# Detail bits of IEC 61850-7-3 quality; most of our reasons have none.
_IEC_61850_DETAILS: dict[Reason, str] = {
    Reason.OVER_RANGE: "outOfRange",
    Reason.UNDER_RANGE: "outOfRange",
    Reason.OUT_OF_OPERATING_RANGE: "outOfRange",
    Reason.CLIPPED: "overflow",
    Reason.CALIBRATION_EXPIRED: "badReference",
    Reason.CALIBRATION_UNKNOWN: "badReference",
    Reason.CALIBRATION_AGEING: "badReference",
    Reason.NOISY: "inaccurate",
    Reason.CLOCK_DRIFT: "inaccurate",
    Reason.JITTER: "inaccurate",
    Reason.NEAR_LIMIT: "inaccurate",
    Reason.COHERENCE_LOST: "inconsistent",
    Reason.MISALIGNED: "inconsistent",
    Reason.SCHEMA_DRIFT: "inconsistent",
    Reason.IMPLAUSIBLE: "inconsistent",
    Reason.STUCK_VALUE: "failure",
    Reason.PROCEDURE_FAILED: "failure",
    Reason.STALE: "oldData",
    Reason.REVISION_SUPERSEDED: "oldData",
}

_MISSING = frozenset({Reason.LACK_OF_DATA_SAMPLES, Reason.GAP})


class Crosswalk(Struct, frozen=True, kw_only=True):
    """One outcome in other systems' words; ``None`` and empty text mean that there is no word for it."""

    qartod_flag: int
    ilac_g8: str
    lwm2m_quality_indicator: int
    lwm2m_reason_code: int | None
    sparkplug_quality: int | None
    haystack_status: str
    iec_61850_validity: str
    iec_61850_detail: str


def crosswalk(outcome: Outcome, reason: Reason) -> Crosswalk:
    """Translate an outcome with its reason."""
    qartod, ilac, indicator, sparkplug, haystack, validity = _words(outcome, reason)
    return Crosswalk(
        qartod_flag=qartod,
        ilac_g8=ilac,
        lwm2m_quality_indicator=indicator,
        lwm2m_reason_code=LWM2M_REASONS.get(reason),
        sparkplug_quality=sparkplug,
        haystack_status=haystack,
        iec_61850_validity=validity,
        iec_61850_detail="" if outcome is Outcome.PASS else _IEC_61850_DETAILS.get(reason, ""),
    )


def _words(outcome: Outcome, reason: Reason) -> tuple[int, str, int, int | None, str, str]:
    match outcome:
        case Outcome.PASS:
            return 1, "pass", 4, 192, "ok", "good"
        case Outcome.BORDERLINE if reason is Reason.NEAR_LIMIT:
            return 3, "conditional pass", 3, None, "stale", "questionable"
        case Outcome.BORDERLINE:
            return 3, "conditional fail", 2, None, "stale", "questionable"
        case Outcome.FAIL:
            return 4, "fail", 1, 0, "fault", "invalid"
        case Outcome.ABSTAIN:
            flag = QARTOD_MISSING if reason in _MISSING else QARTOD_NOT_EVALUATED
            return flag, "", 0, 500, "unknown", ""
