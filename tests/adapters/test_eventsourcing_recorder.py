"""The library's own conformance suites on our recorders, on both stores, and what only a ledger promises."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    ApplicationRecorder,
    DataError,
    InfrastructureFactory,
    IntegrityError,
    StoredEvent,
)
from eventsourcing.utils import Environment, get_topic

from adapters.event_logs import open_log
from adapters.eventsourcing_recorder import LedgerAggregateRecorder, LedgerApplicationRecorder, LedgerFactory
from adapters.key_store_file import FileKeyStore
from adapters.sqlite_log import SQLiteLog
from adapters.stored_event_ledger import StoredEventLedger
from domain.errors import InvalidError
from ledger.audit import audit
from ledger.notes import VerifierKey
from tests.adapters.esdb_node.fixture import esdb_uri
from tests.adapters.eventsourcing_suites import application as application_suite
from tests.adapters.eventsourcing_suites import persistence as suite
from tests.ledger.records import make_records
from tests.ledger.signing_key import SigningKey

__all__ = ["esdb_uri"]

MODULE = "adapters.eventsourcing_recorder"


class OnSQLite:
    """The suites with ledgers in a folder."""

    store = ""

    def settings(self, ledger: str = "") -> dict[str, str]:
        home = tempfile.TemporaryDirectory(prefix="tally-recorder-", ignore_cleanup_errors=True)
        self.addCleanup(home.cleanup)  # type: ignore[attr-defined]
        return settings(home.name, self.store, ledger)

    def factory(self) -> LedgerFactory:
        made = InfrastructureFactory.construct(Environment(name="Tests", env=self.settings()))
        assert isinstance(made, LedgerFactory)
        self.addCleanup(made.close)  # type: ignore[attr-defined]
        return made


class OnEventStoreDB(OnSQLite):
    """The suites with ledgers in EventStoreDB."""

    @pytest.fixture(autouse=True)
    def _uri(self, esdb_uri: str) -> None:
        self.store = esdb_uri


def settings(home: str | Path, store: str = "", ledger: str = "") -> dict[str, str]:
    return {
        "PERSISTENCE_MODULE": MODULE,
        "TALLY_HOME": str(home),
        "TALLY_STORE": store,
        "TALLY_LEDGER": ledger or f"tests-{uuid4()}",
    }


class AggregateRecorderTests(OnSQLite):
    def create_recorder(self) -> LedgerAggregateRecorder:
        recorder = self.factory().aggregate_recorder(purpose="snapshots")
        assert isinstance(recorder, LedgerAggregateRecorder)
        return recorder


class ApplicationRecorderTests(OnSQLite):
    def create_recorder(self) -> LedgerApplicationRecorder:
        recorder = self.factory().application_recorder()
        assert isinstance(recorder, LedgerApplicationRecorder)
        return recorder


class SubscribeTests(ApplicationRecorderTests):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()  # type: ignore[attr-defined]


class ExampleTests(OnSQLite):
    expected_factory_topic = f"{MODULE}:LedgerFactory"

    def setUp(self) -> None:
        before = dict(os.environ)
        os.environ.update(self.settings())
        self.addCleanup(_restore, before)  # type: ignore[attr-defined]


def _restore(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


class TestAggregateRecorderOnSQLite(AggregateRecorderTests, suite.AggregateRecorderTestCase):
    pass


class TestAggregateRecorderOnEventStoreDB(
    OnEventStoreDB, AggregateRecorderTests, suite.AggregateRecorderTestCase
):
    pass


class TestApplicationRecorderOnSQLite(SubscribeTests, suite.ApplicationRecorderTestCase):
    pass


class TestApplicationRecorderOnEventStoreDB(
    OnEventStoreDB, SubscribeTests, suite.ApplicationRecorderTestCase
):
    pass


class TestNonInterleavingOnSQLite(ApplicationRecorderTests, suite.NonInterleavingNotificationIDsBaseCase):
    pass


class TestNonInterleavingOnEventStoreDB(
    OnEventStoreDB, ApplicationRecorderTests, suite.NonInterleavingNotificationIDsBaseCase
):
    pass


class TestExampleApplicationOnSQLite(ExampleTests, application_suite.ExampleApplicationTestCase):
    pass


class TestExampleApplicationOnEventStoreDB(
    OnEventStoreDB, ExampleTests, application_suite.ExampleApplicationTestCase
):
    pass


@pytest.fixture(params=["SQLite", "EventStoreDB"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Settings of one application in one store."""
    store = request.getfixturevalue("esdb_uri") if request.param == "EventStoreDB" else ""
    return settings(tmp_path, store)


@contextmanager
def opened(place: dict[str, str]) -> Iterator[LedgerApplicationRecorder]:
    factory = LedgerFactory(Environment(name="Tests", env=place))
    try:
        recorder = factory.application_recorder()
        assert isinstance(recorder, LedgerApplicationRecorder)
        yield recorder
    finally:
        factory.close()


def stored(originator_id: UUID | str, version: int, state: bytes = b"state") -> StoredEvent:
    return StoredEvent(originator_id=originator_id, originator_version=version, topic="topic", state=state)


class Account(Aggregate):
    @event("Opened")
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = 0

    @event("Credited")
    def credit(self, amount: int) -> None:
        self.balance += amount


class Accounts(Application[UUID]):
    def open_account(self, owner: str) -> UUID:
        account = Account(owner)
        self.save(account)
        return account.id

    def credit(self, account_id: UUID, amount: int) -> None:
        account: Account = self.repository.get(account_id)
        account.credit(amount)
        self.save(account)

    def balance(self, account_id: UUID) -> int:
        account: Account = self.repository.get(account_id)
        return account.balance


def test_a_stock_application_keeps_a_ledger_that_audits(place: dict[str, str]) -> None:
    with Accounts(env=place) as accounts:
        account_id = accounts.open_account("Ada")
        accounts.credit(account_id, 5)
        accounts.credit(account_id, 7)
        assert get_topic(type(accounts.factory)) == f"{MODULE}:LedgerFactory"
    with Accounts(env=place) as accounts:
        assert accounts.balance(account_id) == 12
        section = accounts.notification_log["1,10"]
        assert [item.id for item in section.items] == [1, 2, 3]
    name = f"ledger-{place['TALLY_LEDGER']}"
    origin = f"tallystick.local/{place['TALLY_LEDGER']}"
    public_key = FileKeyStore(Path(place["TALLY_HOME"]) / "keys").signer(origin).public_key

    async def check() -> None:
        log = open_log(place["TALLY_STORE"] or str(Path(place["TALLY_HOME"]) / "ledgers"))
        report = await audit(log, name, trusted=VerifierKey(name=origin, public_key=public_key))
        records = await log.read(name, 0, 10)
        await log.close()
        assert report.findings == ()
        assert (report.size, report.seal_count) == (5, 3)
        assert all(str(account_id) in record.entry.decode() for record in records[2:])

    asyncio.run(check())


def test_an_application_signs_with_the_key_that_its_setting_names(tmp_path: Path) -> None:
    place = {**settings(tmp_path), "TALLY_KEYS": str(tmp_path / "elsewhere")}
    with opened(place) as recorder:
        recorder.insert_events([stored(uuid4(), 1)])
    assert list((tmp_path / "elsewhere" / "signing").glob("*.pem"))
    assert not (tmp_path / "keys").exists()


def test_events_are_there_after_reopening_and_versions_stay_unique(place: dict[str, str]) -> None:
    one, two = uuid4(), uuid4()
    with opened(place) as recorder:
        recorder.insert_events([stored(one, 1), stored(two, 1), stored(one, 2)])
        recorder.insert_events([stored(one, 3)])
    with opened(place) as recorder:
        assert [found.originator_version for found in recorder.select_events(one)] == [1, 2, 3]
        assert recorder.max_notification_id() == 4
        with pytest.raises(IntegrityError):
            recorder.insert_events([stored(one, 3)])
        assert recorder.insert_events([stored(two, 2)]) == [5]


def test_ids_come_back_as_they_were_given(place: dict[str, str]) -> None:
    looks_like_one = str(uuid4())
    with opened(place) as recorder:
        for originator_id in (uuid4(), looks_like_one, "order/4711 ü"):
            recorder.insert_events([stored(originator_id, 0)])
            (found,) = recorder.select_events(originator_id)
            assert found.originator_id == originator_id
            assert type(found.originator_id) is type(originator_id)


def test_versions_that_came_out_of_order_are_read_in_order(place: dict[str, str]) -> None:
    one = uuid4()
    with opened(place) as recorder:
        for version in (5, 2, 9, 4):
            recorder.insert_events([stored(one, version)])

        def versions(**arguments: int | bool) -> list[int]:
            return [found.originator_version for found in recorder.select_events(one, **arguments)]  # type: ignore[arg-type]

        assert versions() == [2, 4, 5, 9]
        assert versions(gt=2, lte=5) == [4, 5]
        assert versions(desc=True, limit=2) == [9, 5]
        assert versions(gt=9) == versions(lte=1) == versions(limit=0) == []


class FailingSigner(SigningKey):
    """A real key that fails when told to, as a key store on another machine does."""

    fails = False

    def sign(self, message: bytes) -> bytes:
        if self.fails:
            raise OSError("the key store is away")
        return super().sign(message)


@pytest.mark.anyio
async def test_an_insert_that_failed_is_not_stored_by_the_next_one(tmp_path: Path) -> None:
    signer = FailingSigner("tests.local/failing")
    log = SQLiteLog(tmp_path)
    ledger = StoredEventLedger(
        log=log, name="ledger-failing", origin=signer.name, signer=signer, clock=lambda: 1_700_000_000
    )
    assert await ledger.insert([stored("x", 1)]) == [1]
    signer.fails = True
    answers = await asyncio.gather(
        *(ledger.insert([stored("x", version)]) for version in (2, 3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [OSError, OSError]
    signer.fails = False
    cancelled = asyncio.create_task(ledger.insert([stored("x", 4)]))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    ids = await asyncio.gather(ledger.insert([stored("y", 1)]), ledger.insert([stored("x", 2)]))
    found = await ledger.select("x", None, None, False, None)
    assert {one.originator_version for one in found} - {4} == {1, 2}
    assert sorted(number for (number,) in ids) == list(
        range(await ledger.size() - 1, await ledger.size() + 1)
    )
    await log.close()


def test_two_recorders_of_one_ledger_see_each_other(place: dict[str, str]) -> None:
    one = uuid4()
    with opened(place) as first, opened(place) as second:
        first.insert_events([stored(one, 1)])
        with pytest.raises(IntegrityError):
            second.insert_events([stored(one, 1)])
        assert second.insert_events([stored(one, 2)]) == [2]
        assert len(first.select_events(one)) == 2
        assert first.max_notification_id() == 2


def test_recorders_that_write_at_the_same_time_lose_nothing(place: dict[str, str]) -> None:
    with opened(place) as first, opened(place) as second:
        ids: list[int] = []

        def write(recorder: ApplicationRecorder) -> None:
            for _ in range(20):
                ids.extend(recorder.insert_events([stored(uuid4(), 1), stored(uuid4(), 1)]) or ())

        threads = [Thread(target=write, args=(recorder,)) for recorder in (first, second) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ids) == list(range(1, 161))
        assert [one.id for one in first.select_notifications(None, 1_000)] == list(range(1, 161))


def _insert_elsewhere(place: dict[str, str], count: int) -> None:
    with opened(place) as recorder:
        for _ in range(count):
            recorder.insert_events([stored(uuid4(), 1)])


def test_a_subscription_sees_what_another_process_records(place: dict[str, str]) -> None:
    with opened(place) as recorder, recorder.subscribe() as subscription:
        other = multiprocessing.get_context("spawn").Process(target=_insert_elsewhere, args=(place, 3))
        other.start()
        assert [next(subscription).id for _ in range(3)] == [1, 2, 3]
        other.join(60)
        recorder.insert_events([stored(uuid4(), 1)])
        assert next(subscription).id == 4


def test_subscriptions_end_without_each_other(place: dict[str, str]) -> None:
    with opened(place) as recorder:
        with recorder.subscribe() as first:
            with recorder.subscribe() as second:
                recorder.insert_events([stored(uuid4(), 1)])
                assert (next(first).id, next(second).id) == (1, 1)
            recorder.insert_events([stored(uuid4(), 1)])
            assert next(first).id == 2
        with recorder.subscribe(gt=1) as third:
            assert next(third).id == 2


@pytest.mark.parametrize(
    "events",
    [
        [stored("x", number) for number in range(1_025)],
        [stored("x", 1, b"y" * 800_000)],
        [stored("x", number, b"y" * 300_000) for number in range(3)],
        [stored("two\nlines", 1)],
        [stored("x" * 257, 1)],
        [stored("", 1)],
    ],
    ids=["too many", "too large", "too large together", "control character", "long id", "empty id"],
)
def test_what_can_never_be_stored_is_said_to_be_data(
    place: dict[str, str], events: list[StoredEvent]
) -> None:
    with opened(place) as recorder:
        with pytest.raises(DataError):
            recorder.insert_events(events)
        assert recorder.insert_events([stored("y", 1)]) == [1]


def test_a_ledger_of_something_else_is_refused(tmp_path: Path) -> None:
    place = settings(tmp_path, ledger="contract")

    async def write() -> None:
        log = open_log(str(tmp_path / "ledgers"))
        await log.append("ledger-contract", 0, make_records(2))
        await log.close()

    asyncio.run(write())
    with pytest.raises(InvalidError, match="belongs to another ledger"), opened(place):
        pass


def test_another_key_than_the_ledgers_is_refused(tmp_path: Path) -> None:
    place = settings(tmp_path, ledger="keys")
    with opened(place) as recorder:
        recorder.insert_events([stored("x", 1)])
    (tmp_path / "keys").rename(tmp_path / "other keys")
    with pytest.raises(InvalidError, match="another key"), opened(place):
        pass


def test_a_changed_body_is_refused_on_opening(tmp_path: Path) -> None:
    place = settings(tmp_path, ledger="tampered")
    with opened(place) as recorder:
        recorder.insert_events([stored("x", 1), stored("x", 2)])
    with sqlite3.connect(tmp_path / "ledgers" / "ledger-tampered.sqlite") as db:
        db.executescript(
            "DROP TRIGGER records_are_never_updated;"
            "UPDATE records SET payload = CAST(replace(payload, '\"c3RhdGU=\"', '\"c3RhdGX=\"') AS BLOB)"
            " WHERE ledger_index = 3"
        )
    with pytest.raises(InvalidError, match="body does not match"), opened(place):
        pass


def test_tracking_is_kept_elsewhere(tmp_path: Path) -> None:
    factory = LedgerFactory(Environment(name="Tests", env=settings(tmp_path)))
    for make in (factory.tracking_recorder, factory.process_recorder):
        with pytest.raises(NotImplementedError, match="projection"):
            make()
    factory.close()
