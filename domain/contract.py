"""Contracts: the promises a run is held to, as data.

A contract is versioned, published as an event, and refers to metrics by name.  A gate turns one metric into
an outcome per window and one for the run; the decision rule (limits, guard band, rule id) stands in the
contract, so that ISO/IEC 17025 §7.8.6 is met by quoting it.
"""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

from domain.canonical import canonical_json
from domain.digests import Digest, digest_of
from domain.errors import InvalidError
from domain.identifiers import parse_identifier
from domain.outcomes import Outcome, Reason

GATES_MAX = 64


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One promise about one metric.

    ``at_most``: pass while value <= ``pass_limit``, fail when value > ``fail_limit``, borderline between;
    ``at_least`` mirrors it. The guard band w (the larger of ``guard_band`` and the metric's own) widens
    borderline on the pass side: a value within w of the pass limit is borderline, never pass.  ``required``
    gates that abstain make the run abstain. ``window_pass_fraction_min`` is the share of windows, in 0..1,
    that must not fail (nor abstain, when required) for the run to pass this gate; 1.0 means the worst window
    decides.
    """

    gate_id: str
    metric: str
    rule: Literal["at_most", "at_least"]
    pass_limit: float
    fail_limit: float
    unit: str
    rule_id: str
    guard_band: float = 0.0
    required: bool = True
    reason: Reason = Reason.LIMIT_EXCEEDED
    window_pass_fraction_min: float = 1.0
    title: str = ""

    def __post_init__(self) -> None:
        parse_identifier(self.gate_id, "gate_id")
        for field in ("pass_limit", "fail_limit", "guard_band", "window_pass_fraction_min"):
            if not math.isfinite(getattr(self, field)):
                raise InvalidError("a limit is a finite number", field=f"{self.gate_id}.{field}")
        ordered = (
            self.pass_limit <= self.fail_limit
            if self.rule == "at_most"
            else self.pass_limit >= self.fail_limit
        )
        if not ordered:
            raise InvalidError(
                "the fail limit lies on the wrong side of the pass limit",
                field=f"{self.gate_id}.fail_limit",
                expected=f"{'>=' if self.rule == 'at_most' else '<='} {self.pass_limit}",
                actual=str(self.fail_limit),
            )
        if self.guard_band < 0:
            raise InvalidError(
                "a guard band is not negative",
                field=f"{self.gate_id}.guard_band",
                actual=str(self.guard_band),
            )
        if not 0.0 < self.window_pass_fraction_min <= 1.0:
            raise InvalidError("a share lies in (0, 1]", field=f"{self.gate_id}.window_pass_fraction_min")


class Contract(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A versioned set of gates for one kind of run."""

    contract_id: str
    version: int
    title: str
    gates: tuple[Gate, ...]
    presentable: tuple[Outcome, ...] = (Outcome.PASS, Outcome.BORDERLINE)

    def __post_init__(self) -> None:
        parse_identifier(self.contract_id, "contract_id")
        if self.version < 1:
            raise InvalidError("versions count from 1", field="version", actual=str(self.version))
        if not 1 <= len(self.gates) <= GATES_MAX:
            raise InvalidError(
                "a contract has gates",
                field="gates",
                expected=f"1 to {GATES_MAX}",
                actual=str(len(self.gates)),
            )
        ids = [gate.gate_id for gate in self.gates]
        if len(set(ids)) != len(ids):
            raise InvalidError("gate ids are unique within a contract", field="gates")
        if Outcome.FAIL in self.presentable or Outcome.ABSTAIN in self.presentable:
            raise InvalidError(
                "a failed or abstaining run is never presentable",
                field="presentable",
                expected="pass, borderline",
            )

    @property
    def digest(self) -> Digest:
        """Digest of the contract's canonical JSON."""
        return digest_of(canonical_json(self))
