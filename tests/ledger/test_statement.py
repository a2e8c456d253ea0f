"""in-toto Statements: one spelling of ours, the reading of others', and the attestation library's opinion."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from domain.digests import digest_of
from domain.errors import MalformedError
from ledger.statement import (
    STATEMENT_BYTES_MAX,
    STATEMENT_TYPE,
    SUBJECTS_MAX,
    MalformedStatementError,
    ResourceDescriptor,
    Statement,
    format_statement,
    parse_foreign_statement,
    parse_statement,
    statement_about,
    subject_of,
)
from tests.ledger.vectors import vector, vectors

PREDICATE_TYPE = "urn:tallystick:example:v1"
REPORT = subject_of("report.json", digest_of(b"report"), size=6)

words = st.text(st.characters(codec="utf-8"), max_size=10)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
descriptors = st.builds(
    ResourceDescriptor,
    name=words,
    uri=words,
    digest=st.binary(min_size=32, max_size=32).map(lambda raw: {"sha256": raw.hex()}),
    content=st.binary(max_size=10),
    download_location=words,
    media_type=words,
    annotations=st.dictionaries(words, values, max_size=2),
)
subjects = st.lists(descriptors, min_size=1, max_size=4, unique_by=lambda subject: subject.name).map(tuple)


class Verdict(Struct, frozen=True, kw_only=True):
    verdict: str
    score: float


@given(subjects, st.dictionaries(words, values, max_size=4))
def test_a_statement_is_read_as_it_was_written(
    subject: tuple[ResourceDescriptor, ...], predicate: dict[str, Any]
) -> None:
    statement = statement_about(subject, PREDICATE_TYPE, predicate)
    data = format_statement(statement)
    assert parse_statement(data) == parse_foreign_statement(data) == statement
    assert parse_statement(data).predicate_as(dict) == predicate
    assert json.loads(data)["_type"] == STATEMENT_TYPE


def test_the_same_claim_has_the_same_bytes_however_its_members_were_ordered() -> None:
    one = statement_about((REPORT,), PREDICATE_TYPE, {"verdict": "pass", "score": 0.5})
    other = statement_about((REPORT,), PREDICATE_TYPE, Verdict(verdict="pass", score=0.5))
    assert format_statement(one) == format_statement(other) == vector("statements/good/one-subject.json")
    assert parse_statement(format_statement(one)).predicate_as(Verdict) == Verdict(verdict="pass", score=0.5)


@pytest.mark.parametrize("data", vectors("statements/malformed"))
def test_what_is_no_statement_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedStatementError):
        parse_statement(data)


def test_what_others_write_is_read_and_what_is_unknown_passed_over() -> None:
    """'Unrecognized fields: Consumers MUST ignore unrecognized fields unless otherwise noted.'"""
    written = json.loads(vector("statements/good/one-subject.json"))
    written["more"] = {"later": "versions"}
    written["subject"][0]["more"] = 1
    read = parse_foreign_statement(json.dumps(written, indent=4).encode())
    assert read.subject == (REPORT,)
    assert json.loads(bytes(read.predicate)) == written["predicate"]


@pytest.mark.parametrize(
    "name",
    [
        "type-v0",
        "type-missing",
        "predicate-missing",
        "predicate-not-an-object",
        "predicate-type-not-a-uri",
        "no-subject",
        "subject-without-digest",
        "subject-with-nothing",
        "two-subjects-of-one-name",
        "digest-in-upper-case",
        "digest-of-odd-length",
        "deeply-nested-predicate",
        "nothing",
    ],
)
def test_what_nobody_may_write_is_refused_of_others_too(name: str) -> None:
    with pytest.raises(MalformedStatementError):
        parse_foreign_statement(vector(f"statements/malformed/{name}.json"))


def test_a_predicate_that_is_not_canonical_is_not_written() -> None:
    statement = Statement(
        type_=STATEMENT_TYPE,
        subject=(REPORT,),
        predicate_type=PREDICATE_TYPE,
        predicate=Raw(b'{"b":1,"a":2}'),
    )
    with pytest.raises(MalformedStatementError):
        format_statement(statement)


@pytest.mark.parametrize("predicate", [b'{"a":1}}', b'{"a":1},"more":{}', b"{", b"", b"[]", b"null"])
def test_a_predicate_cannot_break_out_of_its_place(predicate: bytes) -> None:
    with pytest.raises(MalformedStatementError):
        format_statement(
            Statement(
                type_=STATEMENT_TYPE,
                subject=(REPORT,),
                predicate_type=PREDICATE_TYPE,
                predicate=Raw(predicate),
            )
        )


def test_a_predicate_of_another_shape_is_refused() -> None:
    with pytest.raises(MalformedError):
        statement_about((REPORT,), PREDICATE_TYPE, {"verdict": "pass"}).predicate_as(Verdict)


def test_a_resource_says_at_least_where_or_what_it_is() -> None:
    """'a ResourceDescriptor MUST specify one of uri, digest or content at a minimum'"""
    with pytest.raises(MalformedStatementError):
        ResourceDescriptor(name="only a name")
    for enough in ({"uri": "urn:a"}, {"digest": {"sha1": "ab"}}, {"content": b"a"}):
        ResourceDescriptor(**enough)


def test_statements_have_limits() -> None:
    many = tuple(subject_of(f"artifact {number}", digest_of(b"")) for number in range(SUBJECTS_MAX + 1))
    assert format_statement(statement_about(many[1:], PREDICATE_TYPE, {}))
    with pytest.raises(MalformedStatementError):
        statement_about(many, PREDICATE_TYPE, {})
    with pytest.raises(MalformedStatementError):
        format_statement(statement_about((REPORT,), PREDICATE_TYPE, {"long": "a" * STATEMENT_BYTES_MAX}))
    with pytest.raises(MalformedStatementError):
        ResourceDescriptor(digest={f"algorithm{number}": "ab" for number in range(9)})


def test_the_attestation_library_accepts_ours_and_we_accept_its() -> None:
    library = pytest.importorskip("in_toto_attestation.v1.statement")
    descriptor = pytest.importorskip("in_toto_attestation.v1.resource_descriptor")
    statement_pb2 = pytest.importorskip("in_toto_attestation.v1.statement_pb2")
    json_format = pytest.importorskip("google.protobuf.json_format")

    ours = json.loads(vector("statements/good/one-subject.json"))
    theirs = library.Statement.copy_from_pb(json_format.ParseDict(ours, statement_pb2.Statement()))
    theirs.validate()
    assert theirs.pb.subject[0].digest["sha256"] == REPORT.digest["sha256"]

    subject = descriptor.ResourceDescriptor(
        name="report.json", digest=dict(REPORT.digest), annotations={"size": 6}
    )
    theirs = library.Statement([subject.pb], PREDICATE_TYPE, {"verdict": "pass", "score": 0.5})
    theirs.validate()
    read = parse_foreign_statement(json_format.MessageToJson(theirs.pb).encode())
    assert read.subject == (REPORT,)
    assert json.loads(bytes(read.predicate)) == {"verdict": "pass", "score": 0.5}
