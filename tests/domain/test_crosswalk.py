"""The table of other systems' words."""

import pytest

from domain.crosswalk import LWM2M_REASONS, crosswalk
from domain.outcomes import Outcome, Reason


def test_every_reason_has_its_own_lwm2m_code_and_ours_stay_in_the_vendor_range() -> None:
    assert set(LWM2M_REASONS) == set(Reason) - {Reason.NONE}
    codes = list(LWM2M_REASONS.values())
    assert len(set(codes)) == len(codes)
    assert all(0 <= code <= 15 or 128 <= code <= 511 for code in codes)


@pytest.mark.parametrize(
    "outcome, reason, qartod, lwm2m, sparkplug, haystack, iec",
    [
        (Outcome.PASS, Reason.NONE, 1, 4, 192, "ok", "good"),
        (Outcome.BORDERLINE, Reason.NEAR_LIMIT, 3, 3, None, "stale", "questionable"),
        (Outcome.BORDERLINE, Reason.GAP, 3, 2, None, "stale", "questionable"),
        (Outcome.FAIL, Reason.CLIPPED, 4, 1, 0, "fault", "invalid"),
        (Outcome.ABSTAIN, Reason.NOT_MEASURED, 2, 0, 500, "unknown", ""),
        (Outcome.ABSTAIN, Reason.LACK_OF_DATA_SAMPLES, 9, 0, 500, "unknown", ""),
    ],
)
def test_an_outcome_reads_as_the_reference_table_says(
    outcome: Outcome, reason: Reason, qartod: int, lwm2m: int, sparkplug: int | None, haystack: str, iec: str
) -> None:
    words = crosswalk(outcome, reason)
    assert words.qartod_flag == qartod
    assert words.lwm2m_quality_indicator == lwm2m
    assert words.sparkplug_quality == sparkplug
    assert words.haystack_status == haystack
    assert words.iec_61850_validity == iec


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("outcome", [Outcome.BORDERLINE, Outcome.FAIL, Outcome.ABSTAIN])
def test_nothing_but_a_pass_is_ever_called_good(outcome: Outcome, reason: Reason) -> None:
    words = crosswalk(outcome, reason)
    assert words.qartod_flag != 1
    assert words.sparkplug_quality != 192
    assert words.iec_61850_validity != "good"
    assert words.haystack_status != "ok"


def test_calibration_reasons_set_the_bad_reference_bit() -> None:
    assert crosswalk(Outcome.ABSTAIN, Reason.CALIBRATION_UNKNOWN).iec_61850_detail == "badReference"
    assert crosswalk(Outcome.FAIL, Reason.CALIBRATION_EXPIRED).lwm2m_reason_code == 6
