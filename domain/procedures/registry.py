"""Registry: every procedure version there is, and the source files that decide its results.

A version is never removed or changed, because receipts are replayed with the version that made them; a
change of results is a new version beside the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from domain.errors import UnknownError
from domain.health.mappers import MAPPERS
from domain.procedures.coherence import COHERENCE
from domain.procedures.delay_track import DELAY_TRACK
from domain.procedures.procedure import Procedure
from domain.procedures.spectra import SPECTRA

SIGNAL_PROCEDURES: tuple[Procedure, ...] = (SPECTRA, COHERENCE, DELAY_TRACK)
PROCEDURES: tuple[Procedure, ...] = (*SIGNAL_PROCEDURES, *MAPPERS)

_SIGNAL_SOURCES = (
    "domain.canonical",
    "domain.columns",
    "domain.dataset",
    "domain.metrics",
    "domain.outcomes",
    "domain.procedures.options",
    "domain.procedures.procedure",
    "domain.procedures.recording",
    "domain.procedures.tables",
    "domain.quantise",
    "domain.signal.amplitude",
    "domain.signal.calibration",
    "domain.signal.coherence",
    "domain.signal.flatline",
    "domain.signal.hann",
    "domain.signal.measured",
    "domain.signal.quality",
    "domain.signal.quantiles",
    "domain.signal.runs",
    "domain.signal.saturation",
    "domain.signal.timemarks",
    "domain.signal.welch",
    "domain.windows",
)
_MAPPER_SOURCES = (
    "domain.canonical",
    "domain.dataset",
    "domain.health.drift",
    "domain.health.freshness",
    "domain.health.instants",
    "domain.health.mapped_records",
    "domain.health.mappers.oura_daily_activity",
    "domain.health.mappers.oura_parts",
    "domain.health.mappers.oura_sleep",
    "domain.health.plausibility",
    "domain.health.provider_documents",
    "domain.health.record_keys",
    "domain.health.records",
    "domain.health.revisions",
    "domain.health.units",
    "domain.metrics",
    "domain.outcomes",
    "domain.procedures.procedure",
)

SOURCES: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("spectra", "1.0.0"): ("domain.procedures.spectra", *_SIGNAL_SOURCES),
        ("coherence", "1.0.0"): ("domain.procedures.coherence", *_SIGNAL_SOURCES),
        ("delay-track", "1.0.0"): (
            "domain.procedures.coherence",
            "domain.procedures.delay_track",
            "domain.signal.delay",
            *_SIGNAL_SOURCES,
        ),
        **{(mapper.name, mapper.version): _MAPPER_SOURCES for mapper in MAPPERS},
    }
)
"""Modules that decide the results of a procedure, by name and version; what only carries (errors, digests,
identifiers) is not among them.  The digest of their source files is the procedure's source digest.
"""


def find_procedure(name: str, version: str) -> Procedure:
    """The procedure of this name and version.  Raises: UnknownError naming the versions there are."""
    for procedure in PROCEDURES:
        if (procedure.name, procedure.version) == (name, version):
            return procedure
    versions = [procedure.version for procedure in PROCEDURES if procedure.name == name]
    names = sorted({procedure.name for procedure in PROCEDURES})
    raise UnknownError(
        "no such version of the procedure" if versions else "no such procedure",
        field="procedure",
        expected=", ".join(versions or names),
        actual=f"{name} {version}"[:80],
    )
