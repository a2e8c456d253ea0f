"""The log: streams, revisions, positions, and the rules by which an append is taken, repeated or refused.

Life of an append: the stream's state is looked up (loaded from the file if it was not needed lately) → the
expected version and the event ids decide (:meth:`Store.append`) → positions are given, records framed and put
into the open :class:`~adapters.esdb_node.flush.Flush` → at the end of the event loop's turn the flush is
inserted and committed on the commit thread, while the next one fills → the flush settles: revisions become
visible, waiting readers wake, callers are answered.  A crash before the commit returned loses only what
nobody was told about.

Everything here runs on the event loop's thread.  The rules are those of EventStoreDB's
``IndexWriter.CheckCommit`` and ``StorageWriterService``; see section 2.5 of ``reference/eventstoredb.md``.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from adapters.esdb_node import record
from adapters.esdb_node.append_rules import check
from adapters.esdb_node.event_ids import IDS_LOADED_BYTES, IDS_REMEMBERED, EventIds
from adapters.esdb_node.flush import Flush
from adapters.esdb_node.record import JSON, METADATA_TYPE, OCTETS, REVISION_MAX, TOMBSTONE_TYPE
from adapters.esdb_node.records_file import LOG_BYTES_MAX, RecordsFile, Row
from adapters.esdb_node.stream_metadata import (
    METASTREAM_METADATA,
    NO_METADATA,
    StreamMetadata,
    is_json_object,
    parse_metadata,
    with_truncate_before,
)
from adapters.esdb_node.streams import ANY, Appended, Proposed, Stream, Verdict, WrongVersion
from adapters.esdb_node.wire_errors import unavailable

logger = logging.getLogger(__name__)

#: Streams whose state is kept in memory, about 500 bytes each; others are looked up again when needed.
STREAMS_CACHED_MAX: Final = 100_000
#: Connections are not read while more than this waits for the disk.
BACKLOG_BYTES_MAX: Final = 32 * 1024 * 1024


class Store:
    """The log of one node; see the module's docstring."""

    def __init__(self, path: Path | None = None, log_bytes_max: int = LOG_BYTES_MAX) -> None:
        self.file = RecordsFile(path, log_bytes_max)
        self._streams: dict[str, Stream] = {}
        self._stream_names: dict[int, str] = {}
        self._types: dict[str, int] = {}
        self._type_names: dict[int, str] = {}
        self._kinds: dict[tuple[str, str], bytes] = {}
        self._ids = EventIds(())
        self._open = Flush()
        self._flushing: Flush | None = None
        self._planned = False
        self._backlog_bytes = 0
        self._resume: set[Callable[[], None]] = set()
        self._commits = ThreadPoolExecutor(1, "esdb-node-commit") if path is not None else None
        self._closed = False
        self.watchers: set[Callable[[], None]] = set()
        #: Position the next record gets; the end of the log.
        self.next_position = 0
        #: Position of the last durable record, -1 if there is none.
        self.last_position = -1
        self._stream_id_last = 0
        self._type_id_last = 0
        self._find_ends()

    # -- start and stop

    async def start(self) -> None:
        """Write the first records of a new log: like a real server's, it begins with system events."""
        if self.last_position < 0:
            epoch = Proposed(
                str(uuid.uuid4()), "$EpochInformation", JSON, b"", b'{"epochNumber":0,"epochPosition":0}'
            )
            stats = self._metadata_event(b'{"$maxAge":86400}')
            for name, event in (("$epoch-information", epoch), ("$$$stats", stats)):
                self.append(name, ANY, (event,))
            await self.settled()

    async def settled(self) -> None:
        """Wait until nothing is on its way to disk."""
        while True:
            waiting = self._open if self._open.rows else self._flushing
            if waiting is None:
                return
            await waiting.wait()

    async def stop(self) -> None:
        """Finish what is under way and close the file."""
        await self.settled()
        self._closed = True
        if self._commits is not None:
            self._commits.shutdown()
        self.file.close()

    # -- names

    def stream(self, name: str) -> Stream:
        """The state of a stream, existing or not."""
        known = self._streams.get(name)
        if known is None:
            if len(self._streams) >= STREAMS_CACHED_MAX:
                self._forget_idle_streams()
            known = self._streams[name] = Stream(name)
            self._load(known)
        return known

    def stream_name(self, stream_id: int) -> str:
        """The name behind a number."""
        known = self._stream_names.get(stream_id)
        if known is None:
            if len(self._stream_names) >= STREAMS_CACHED_MAX:
                self._stream_names.clear()
            known = self._stream_names[stream_id] = self.file.stream_name(stream_id)
        return known

    def type_name(self, type_id: int) -> str:
        """The name behind a number."""
        known = self._type_names.get(type_id)
        if known is None:
            known = self._type_names[type_id] = self.file.type_name(type_id)
        return known

    def metadata(self, stream: Stream) -> StreamMetadata:
        """The settings of a stream."""
        known = stream.metadata_known
        if known is None:
            if stream.is_metastream:
                known = METASTREAM_METADATA
            else:
                last = self._last_metadata(stream)
                known = NO_METADATA if last is None else parse_metadata(record.parse(last[5]).data)
            stream.metadata_known = known
        return known

    def find_event(self, stream: Stream, event_id: str) -> tuple[int, int] | None:
        """Revision and position of an event of the stream, if it was appended lately."""
        return None if stream.stream_id is None else self._ids.find(stream.stream_id, event_id)

    # -- append

    def append(self, name: str, expected: int, events: Sequence[Proposed]) -> Verdict:
        """Take events at the end of a stream, all or none, if the stream is where the caller expects it.

        A retry (the same ids where they already are) is answered as the first time and writes nothing.
        """
        stream = self.stream(name)
        verdict = check(self, stream, expected, events)
        if verdict is not None:
            return verdict
        if not events:
            return Appended(stream.last_revision, None, stream.flush)
        if stream.is_metastream:
            return self._append_metadata(stream, events)
        if stream.last_revision >= 0 and self.metadata(stream).deleted:
            self._undelete(stream)
        return self._write(stream, events)

    def delete(self, name: str, expected: int) -> Verdict:
        """Hide what the stream holds; its numbering goes on if it is appended to again."""
        stream = self.stream(name)
        if stream.last_revision < 0:
            return WrongVersion(-1, expected, stream.flush)
        verdict = check(self, stream, expected, ())
        if verdict is not None:
            return verdict
        document = b'{"$tb":%d}' % REVISION_MAX
        metastream = self.stream(f"$${name}")
        taken = self._write(metastream, (self._metadata_event(document),))
        self._set_metadata(stream, document, taken.flush)
        return taken

    def tombstone(self, name: str, expected: int) -> Verdict:
        """End the stream for ever."""
        stream = self.stream(name)
        verdict = check(self, stream, expected, ())
        if verdict is not None:
            return verdict
        event = Proposed(str(uuid.uuid4()), TOMBSTONE_TYPE, OCTETS, b"", b"")
        return self._write(stream, (event,), revision=REVISION_MAX)

    # -- write

    def _write(self, stream: Stream, events: Sequence[Proposed], revision: int | None = None) -> Appended:
        if self._closed:
            raise unavailable("Server Is Shutting Down")
        flush = self._open
        stream_id = stream.stream_id
        if stream_id is None:
            self._stream_id_last += 1
            stream_id = stream.stream_id = self._stream_id_last
            self._stream_names[stream_id] = stream.name
            flush.streams.append((stream_id, stream.name))
        rows, remember = flush.rows, self._ids.remember
        ticks = time.time_ns() // 100
        created = record.created_field(ticks)
        next_revision = stream.last_revision + 1 if revision is None else revision
        position = self.next_position
        last = position
        for event in events:
            kind = self._kinds.get((event.type, event.content_type))
            if kind is None:
                kind = self._kind(event)
            framed = record.record(
                stream=stream.field,
                kind=kind,
                created=created,
                revision=next_revision,
                position=position,
                event_id=event.event_id,
                metadata=event.metadata,
                data=event.data,
            )
            type_id = self._types.get(event.type) or self._type_id(event.type)
            rows.append((position, stream_id, next_revision, type_id, ticks, framed))
            remember(stream_id, event.event_id, next_revision, position)
            last = position
            position += len(framed)
            next_revision += 1
        size = position - self.next_position
        self.next_position = position
        stream.last_revision = next_revision - 1
        stream.flush = flush
        flush.touched.add(stream)
        flush.frame_bytes += size
        self._backlog_bytes += size
        self._plan()
        return Appended(next_revision - 1, last, flush)

    def _append_metadata(self, metastream: Stream, events: Sequence[Proposed]) -> Appended:
        """Settings take effect with the append that carries them; those of a deleted stream bring it back to
        life.
        """
        stream = self.stream(metastream.name[2:])
        deleted = stream.last_revision >= 0 and self.metadata(stream).deleted
        taken = self._write(metastream, events)
        document = events[-1].data
        if deleted and not stream.tombstoned and is_json_object(document):
            document = with_truncate_before(document, stream.last_revision + 1)
            self._write(metastream, (self._metadata_event(document),))
        self._set_metadata(stream, document, taken.flush)
        return taken

    def _undelete(self, stream: Stream) -> None:
        metastream = self.stream(f"$${stream.name}")
        document = with_truncate_before(b"{}", stream.last_revision + 1)
        taken = self._write(metastream, (self._metadata_event(document),))
        self._set_metadata(stream, document, taken.flush)

    def _set_metadata(self, stream: Stream, document: bytes, flush: Flush | None) -> None:
        """Until the flush settles the stream must not be forgotten: the file lacks its settings."""
        if not stream.is_metastream:
            stream.metadata_known = parse_metadata(document)
        if flush is not None:
            stream.flush = flush
            flush.touched.add(stream)

    @staticmethod
    def _metadata_event(document: bytes) -> Proposed:
        return Proposed(str(uuid.uuid4()), METADATA_TYPE, JSON, b"", document)

    def _kind(self, event: Proposed) -> bytes:
        if len(self._kinds) >= STREAMS_CACHED_MAX:
            self._kinds.clear()
        kind = self._kinds[event.type, event.content_type] = record.kind_fields(
            event.type, event.content_type
        )
        return kind

    def _type_id(self, name: str) -> int:
        type_id = self.file.type_id(name)
        if type_id is None:
            self._type_id_last += 1
            type_id = self._type_id_last
            self._open.types.append((type_id, name))
        self._types[name] = type_id
        self._type_names[type_id] = name
        return type_id

    # -- flush

    def _plan(self) -> None:
        if not self._planned and self._flushing is None:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._planned = False
        if self._flushing is not None or not self._open.rows:
            return
        flush = self._flushing = self._open
        self._open = Flush()
        try:
            self.file.insert(flush.streams, flush.types, flush.rows)
            if self._commits is None:
                self.file.commit()
        except Exception as error:
            self._lost(error)
            return
        if self._commits is None:
            self._settle()
            return
        loop = asyncio.get_running_loop()
        committing = self._commits.submit(self.file.commit)
        committing.add_done_callback(
            lambda future: loop.call_soon_threadsafe(self._committed, future.exception())
        )

    def _committed(self, error: BaseException | None) -> None:
        if error is None:
            self._settle()
        else:
            self._lost(error if isinstance(error, Exception) else RuntimeError(str(error)))

    def _settle(self) -> None:
        flush, self._flushing = self._flushing, None
        assert flush is not None
        self.last_position = flush.rows[-1][0]
        for stream in flush.touched:
            if stream.stream_id is not None:
                stream.durable_revision = (
                    stream.last_revision if stream.flush is flush else self._durable_revision(stream, flush)
                )
            if stream.flush is flush:
                stream.flush = None
        self._backlog_bytes -= flush.frame_bytes
        if self._open.rows:
            self._flush()
        flush.settle(None)
        for stream in flush.touched:
            for watcher in tuple(stream.watchers):
                watcher()
        for watcher in tuple(self.watchers):
            watcher()
        self._resume_readers()

    @staticmethod
    def _durable_revision(stream: Stream, flush: Flush) -> int:
        """The stream is already part of a later flush: look up what this one brought."""
        for row in reversed(flush.rows):
            if row[1] == stream.stream_id:
                return row[2]
        return stream.durable_revision

    def _lost(self, error: Exception) -> None:
        """A transaction failed: forget what was promised to nobody and start again from the file."""
        logger.error("the store could not write", exc_info=error)
        self.file.roll_back()
        lost = [flush for flush in (self._flushing, self._open) if flush is not None]
        self._flushing, self._open = None, Flush()
        self._types.clear()
        self._type_names.clear()
        self._stream_names.clear()
        self._backlog_bytes = 0
        self._find_ends()
        for stream in self._streams.values():
            self._load(stream)
        refusal = unavailable(f"Server could not write: {error}")
        for flush in lost:
            flush.settle(refusal)
        self._resume_readers()

    # -- backlog

    def busy(self, resume: Callable[[], None]) -> bool:
        """Whether enough waits for the disk; if so ``resume`` is called when it does not any more."""
        if self._backlog_bytes <= BACKLOG_BYTES_MAX:
            return False
        self._resume.add(resume)
        return True

    def _resume_readers(self) -> None:
        if self._resume and self._backlog_bytes <= BACKLOG_BYTES_MAX:
            waiting, self._resume = self._resume, set()
            for resume in waiting:
                resume()

    # -- load

    def _find_ends(self) -> None:
        self._stream_id_last, self._type_id_last, last = self.file.ends()
        if last is None:
            self.next_position, self.last_position = 0, -1
        else:
            self.next_position, self.last_position = last[0] + len(last[5]), last[0]
        after = self.next_position - IDS_LOADED_BYTES
        self._ids = EventIds(self.file.recent_ids(after, IDS_REMEMBERED // 2))

    def _load(self, stream: Stream) -> None:
        stream.flush = None
        stream.metadata_known = None
        stream.stream_id = self.file.stream_id(stream.name)
        last = None if stream.stream_id is None else self.file.last_of_stream(stream.stream_id)
        stream.last_revision = stream.durable_revision = -1 if last is None else last[2]

    def _last_metadata(self, stream: Stream) -> Row | None:
        metastream = self.stream(f"$${stream.name}")
        return None if metastream.stream_id is None else self.file.last_of_stream(metastream.stream_id)

    def _forget_idle_streams(self) -> None:
        """Drop the half that was loaded first, except what somebody waits for."""
        for stream in list(self._streams.values())[: STREAMS_CACHED_MAX // 2]:
            if stream.flush is None and not stream.watchers:
                del self._streams[stream.name]
