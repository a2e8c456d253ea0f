import pytest

from domain.errors import UnknownError
from domain.health.mappers import oura_daily_activity, oura_sleep
from domain.health.records import Daily, Sleep, UnitNote
from domain.health.units import CONVERSIONS, convert, unit_note


@pytest.mark.parametrize(
    "value, provider_unit, unit, expected",
    [
        (1.0, "mi", "m", 1_609.344),
        (26.2, "mi", "m", 42_164.8128),
        (1_000.0, "kJ", "kcal", 239.005736),
        (98.6, "F", "Cel", 37.0),
        (-0.9, "F-difference", "Cel-difference", -0.5),
        (0.93, "1", "%", 93.0),
        (0.25, "Hz", "/min", 15.0),
        (160.0, "lb", "kg", 72.5747792),
        (90.0, "min", "s", 5_400.0),
    ],
)
def test_a_value_is_the_same_quantity_in_our_unit(
    value: float, provider_unit: str, unit: str, expected: float
) -> None:
    assert convert(value, provider_unit, unit) == pytest.approx(expected, rel=1e-8)


def test_the_same_unit_changes_nothing_about_a_number() -> None:
    converted = convert(28_800, "s", "s")
    assert converted == 28_800
    assert isinstance(converted, int)


@pytest.mark.parametrize(
    "provider_unit, unit", [("mi", "s"), ("parsec", "m"), ("parsec", "parsec"), ("F-difference", "Cel")]
)
def test_units_without_a_conversion_are_refused(provider_unit: str, unit: str) -> None:
    with pytest.raises(UnknownError):
        convert(1.0, provider_unit, unit)
    with pytest.raises(UnknownError):
        unit_note("a", "b", provider_unit, unit)


def test_the_table_names_every_pair_once() -> None:
    assert all((item.provider_unit, item.unit) == pair for pair, item in CONVERSIONS.items())


@pytest.mark.parametrize(
    "record_type, notes", [(Sleep, oura_sleep.UNITS), (Daily, oura_daily_activity.UNITS)]
)
def test_every_field_with_a_unit_in_its_name_has_a_note(
    record_type: type[Sleep] | type[Daily], notes: tuple[UnitNote, ...]
) -> None:
    endings = (
        "_seconds",
        "_bpm",
        "_ms",
        "_celsius",
        "_percent",
        "_per_minute",
        "_meters",
        "_kilocalories",
        "_met_minutes",
    )
    fields = {name for name in record_type.__struct_fields__ if name.endswith(endings)} - {
        "start_offset_seconds",
        "end_offset_seconds",
    }
    assert fields <= {note.record_field for note in notes}
    assert {note.record_field for note in notes} <= set(record_type.__struct_fields__)
