"""Rendering: the two artifacts of a report.

The same input gives the same bytes; there is no clock and no chance in it.  What can differ between numeric
environments is the list of exact digests and the environment itself, so the quantised form of both artifacts
is the same report without them.
"""

from __future__ import annotations

from msgspec.structs import replace

from domain.digests import digest_of
from domain.events import NumericEnvironment
from domain.procedures.procedure import Artifact
from domain.report.html import html_page
from domain.report.json import json_document
from domain.report.model import ReportInput

HTML_NAME = "report.html"
JSON_NAME = "report.json"


def render_report(report: ReportInput) -> tuple[Artifact, Artifact]:
    """The report as one HTML file and as JSON."""
    portable = _without_environment(report)
    return (
        Artifact(
            name=HTML_NAME,
            media_type="text/html; charset=utf-8",
            data=html_page(report).encode(),
            quantised=html_page(portable).encode(),
        ),
        Artifact(
            name=JSON_NAME,
            media_type="application/json",
            data=json_document(report),
            quantised=json_document(portable),
        ),
    )


def _without_environment(report: ReportInput) -> ReportInput:
    """The report as every numeric environment would give it: artifacts go by the digest of their rounded
    numbers.
    """
    artifacts = tuple(
        replace(
            one,
            digest=one.quantised_digest or one.digest,
            byte_count=0 if one.quantised_digest else one.byte_count,
        )
        for one in report.artifacts
    )
    nowhere = NumericEnvironment(class_digest=digest_of(b""), facts={})
    return replace(report, artifacts=artifacts, environment=nowhere)
