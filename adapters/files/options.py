"""What a person may say about a file that the file does not say itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from domain.dataset import CHANNELS_MAX
from domain.errors import InvalidError


class SampleFileOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an ingest of samples; all of them have a default, and a file that says it itself is
    believed.

    ``format``: which reader to use, where content, media type and file name leave it open.
    ``channel_names``: name in the file → name from here on; two sensors may write under one name.
    ``units``: channel (name in the file) → unit, for tables whose header has none.
    ``sample_rate_hz``, ``start_ns``: nominal rate, and the Unix time of sample 0, for tables that count
    samples.
    ``time_column``, ``time_unit``: which column is the time (default: the one called ``time``, ``timestamp``,
    ``t``,
    ``sample`` or ``index``), and what it counts: Unix time in a unit, ISO 8601 text, or samples.
    ``non_finite``: ``refuse`` empty cells, NaN and infinity, or ``keep`` them (an empty cell as NaN).
    """

    format: Literal["", "miniseed", "csv", "parquet", "arrow"] = ""
    channel_names: dict[str, str] = {}
    units: dict[str, str] = {}
    sample_rate_hz: float | None = None
    start_ns: int | None = None
    time_column: str = ""
    time_unit: Literal["", "s", "ms", "us", "ns", "iso8601", "samples"] = ""
    non_finite: Literal["refuse", "keep"] = "refuse"

    def __post_init__(self) -> None:
        for field in ("channel_names", "units"):
            if len(getattr(self, field)) > CHANNELS_MAX:
                raise InvalidError(
                    "too many channels", field=f"options.{field}", expected=f"<= {CHANNELS_MAX}"
                )
        names = list(self.channel_names.values())
        if len(set(names)) != len(names):
            raise InvalidError(
                "two channels get the same name", field="options.channel_names", actual=str(sorted(names))
            )

    def renamed(self, name: str) -> str:
        """What the channel that the file calls ``name`` is called here."""
        return self.channel_names.get(name, name)

    def check_names(self, found: Collection[str]) -> None:
        """Refuse options about channels that are not in the file; they are typing mistakes.  Raises:
        InvalidError."""
        for field in ("channel_names", "units"):
            strangers = sorted(set(getattr(self, field)) - set(found))
            if strangers:
                raise InvalidError(
                    "the file has no such channel",
                    field=f"options.{field}",
                    expected=", ".join(sorted(found)),
                    actual=", ".join(strangers)[:200],
                )

    def check_no_table_options(self, format_name: str) -> None:
        """Refuse options about time where the format has its own.  Raises: InvalidError."""
        for field in ("sample_rate_hz", "start_ns", "time_column", "time_unit"):
            if getattr(self, field) not in (None, ""):
                raise InvalidError(
                    f"{format_name} says itself when samples were taken",
                    field=f"options.{field}",
                    actual=str(getattr(self, field)),
                    remedy="Leave this option out; if the file is wrong, correct the file.",
                )


DEFAULTS = SampleFileOptions()


def parse_options(options: Mapping[str, Any]) -> SampleFileOptions:
    """Raises: InvalidError naming the option that is not one."""
    try:
        return msgspec.convert(dict(options), SampleFileOptions)
    except msgspec.ValidationError as error:
        raise InvalidError(
            "not an option of this ingest",
            field="options",
            expected=", ".join(SampleFileOptions.__struct_fields__),
            actual=str(error),
        ) from error
