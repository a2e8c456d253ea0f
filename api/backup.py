"""A backup of one tenant's ledger: a folder laid out like a home, so that it is audited, and put back, as is.

    <folder>/ledgers/ledger-<tenant>.sqlite    the ledger, from whatever store it is in
    <folder>/vault/<tenant>/…                  every object that the ledger names
    <folder>/<tenant>.sha256                   the same objects by digest, for `sha256sum --check`
    <folder>/<tenant>.checkpoint               the newest seal in the copy, for `tally audit --checkpoint`
    <keys>/…                                   keys, in a folder of their own and only if asked

1. The ledger is copied entry by entry and proven (``ledger.migrate``); it may grow meanwhile.  An earlier
   copy in the same folder is continued; one that this ledger did not grow out of is refused, not overwritten.
2. What the copy names is copied after it: objects and keys are there before the entry that names them.
   Each object is checked against its digest on the way.
3. What belongs to people who were erased is left out, and destroyed in an earlier copy of the keys.

A crash leaves a backup that is finished by the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from adapters.durable_file import make_private_folder, replace_file
from adapters.key_backup import copy_keys
from adapters.sqlite_log import SQLiteLog
from adapters.vault_directory import DirectoryVault
from api.workplace import Workplace
from domain.digests import digest_hex
from domain.errors import InvalidError
from ledger.desk import Desk
from ledger.holdings import Holdings, holdings
from ledger.migrate import migrate

_MODE = 0o600
Step = Callable[[str, int, int], None]
"""Called with what is being copied, how much is done, and how much there is."""


class Backup(Struct, frozen=True, kw_only=True):
    """What a backup holds; ``copied_count`` entries of ``size`` are new in it.  ``key_count`` is ``None``
    when keys were not asked for."""

    tenant: str
    size: int
    root: str
    copied_count: int
    object_count: int
    has_objects: bool
    shredded_count: int
    key_count: int | None


async def back_up(
    workplace: Workplace,
    desk: Desk,
    folder: Path,
    *,
    with_vault: bool = True,
    keys_folder: Path | None = None,
    on_step: Step = lambda what, done, size: None,
) -> Backup:
    """Back up the ledger of ``desk``.

    Raises: InvalidError, DivergedTargetError when ``folder`` holds another history, UnknownObjectError and
    CorruptObjectError when the vault is not whole.
    """
    settings, ledger = workplace.settings, desk.ledger
    _check_elsewhere(folder / "ledgers", Path(settings.store))
    if keys_folder is not None:
        _check_elsewhere(keys_folder, settings.keys_folder)
    make_private_folder(folder)
    copy = SQLiteLog(folder / "ledgers")
    try:
        moved = await migrate(
            desk.ledger.log, copy, ledger.name, progress=lambda done, size: on_step("entries", done, size)
        )
        held = await holdings(copy, ledger.name)
    finally:
        await copy.close()
    if with_vault:
        await _copy_objects(desk, DirectoryVault(folder / "vault" / ledger.tenant), held, on_step)
    await asyncio.to_thread(_write_lists, folder, ledger.tenant, moved.checkpoint.encode(), held)
    key_count = None
    if keys_folder is not None:
        key_count = await asyncio.to_thread(
            copy_keys,
            settings.keys_folder,
            keys_folder,
            origin=ledger.origin,
            subject_keys=held.subject_keys,
            erased_keys=held.erased_keys,
        )
    return Backup(
        tenant=ledger.tenant,
        size=moved.size,
        root=moved.root,
        copied_count=moved.copied_count,
        object_count=len(held.objects),
        has_objects=with_vault,
        shredded_count=len(held.shredded),
        key_count=key_count,
    )


def _check_elsewhere(target: Path, source: Path) -> None:
    if target.resolve() == source.resolve():
        raise InvalidError("a backup lies elsewhere", field=str(target), remedy="Name another folder.")


async def _copy_objects(desk: Desk, target: DirectoryVault, held: Holdings, on_step: Step) -> None:
    for count, digest in enumerate(held.objects):
        on_step("objects", count, len(held.objects))
        if not await target.has(digest):
            await target.put(await desk.vault.get(digest))
    on_step("objects", len(held.objects), len(held.objects))


def _write_lists(folder: Path, tenant: str, checkpoint: bytes, held: Holdings) -> None:
    names = [digest_hex(digest) for digest in held.objects]
    lines = "".join(f"{name}  vault/{tenant}/objects/{name[:2]}/{name}\n" for name in names)
    replace_file(folder / f"{tenant}.sha256", lines.encode(), mode=_MODE)
    replace_file(folder / f"{tenant}.checkpoint", checkpoint, mode=_MODE)
