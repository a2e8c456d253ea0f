"""Units: what providers measure in, and the one unit we keep.

Factors are exact by definition where a source is given as exact: SI Brochure (9th edition, 2019) for the SI
units and their prefixes; NIST SP 811 (2008), appendix B, for mile, foot, pound and the thermochemical calorie
(4.184 J).
"""

from __future__ import annotations

from msgspec import Struct

from domain.errors import UnknownError
from domain.health.records import UnitNote


class Conversion(Struct, frozen=True):
    """``value_in_unit = value * factor + shift``."""

    provider_unit: str
    unit: str
    factor: float
    shift: float = 0.0


def _table(*conversions: Conversion) -> dict[tuple[str, str], Conversion]:
    return {(item.provider_unit, item.unit): item for item in conversions}


# Spelling follows UCUM, except where people would not recognise it (bpm, kcal).
CONVERSIONS = _table(
    Conversion("ms", "s", 0.001),
    Conversion("min", "s", 60.0),
    Conversion("h", "s", 3_600.0),
    Conversion("s", "ms", 1_000.0),
    Conversion("mm", "m", 0.001),
    Conversion("cm", "m", 0.01),
    Conversion("km", "m", 1_000.0),
    Conversion("mi", "m", 1_609.344),
    Conversion("ft", "m", 0.3048),
    Conversion("g", "kg", 0.001),
    Conversion("lb", "kg", 0.45359237),
    Conversion("cal", "kcal", 0.001),
    Conversion("J", "kcal", 1 / 4_184),
    Conversion("kJ", "kcal", 1 / 4.184),
    Conversion("F", "Cel", 5 / 9, -160 / 9),
    Conversion("F-difference", "Cel-difference", 5 / 9),
    Conversion("1", "%", 100.0),
    Conversion("Hz", "/min", 60.0),
    Conversion("/s", "/min", 60.0),
)
UNITS = frozenset(conversion.unit for conversion in CONVERSIONS.values()) | {
    "bpm",
    "count",
    "met",
    "met-min",
    "score",
}


def conversion(provider_unit: str, unit: str) -> Conversion:
    """How to get from one unit to another.  Raises: UnknownError when the table has no such pair."""
    if provider_unit == unit and unit in UNITS:
        return Conversion(provider_unit, unit, 1.0)
    found = CONVERSIONS.get((provider_unit, unit))
    if found is None:
        raise UnknownError(
            "no conversion between these units",
            field=unit,
            expected="a pair in CONVERSIONS",
            actual=provider_unit,
        )
    return found


def convert(value: float, provider_unit: str, unit: str) -> float:
    """``value`` in ``unit``.  An identity changes nothing, not even int to float.  Raises: UnknownError."""
    if provider_unit == unit and unit in UNITS:
        return value
    found = conversion(provider_unit, unit)
    return value * found.factor + found.shift


def unit_note(record_field: str, provider_field: str, provider_unit: str, unit: str) -> UnitNote:
    """The note about a field that a mapper puts beside its records.  Raises: UnknownError."""
    return UnitNote(
        record_field=record_field,
        provider_field=provider_field,
        provider_unit=provider_unit,
        unit=unit,
        factor=conversion(provider_unit, unit).factor,
    )
