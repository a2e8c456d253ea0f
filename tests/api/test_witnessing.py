"""Where it is all wired: a serving process asks witnesses by itself, and no tenant is the meta-log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from adapters.api_key_file import ApiKeyFile
from adapters.key_store_file import FileKeyStore
from api.premises import Premises
from api.settings import settings_from
from api.witnessing import cosignatures_path
from api.workplace import Workplace, open_workplace
from domain.errors import InvalidError, MalformedError, TallystickError
from ledger.ledger import ledger_name
from ledger.metalog import META_TENANT
from ledger.notes import VerifierKey, format_verifier_key, verifier_key_of
from tests.adapters.test_witness_client import server
from tests.ledger.test_store_witnessing import until
from tests.ledger.test_witnessing import device
from tests.ledger.witnesses import LocalWitness


def key_of(home: Path, tenant: str) -> VerifierKey:
    settings = settings_from({}, home=str(home))
    return verifier_key_of(FileKeyStore(settings.keys_folder).signer(settings.origin(tenant)))


@pytest.mark.anyio
async def test_a_serving_process_asks_by_itself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    witness = LocalWitness(tmp_path, 0, key_of(home, META_TENANT))

    async def answer(request: web.Request) -> web.Response:
        reply = witness.answer(await request.read())
        return web.Response(body=reply.body, status=reply.status, headers={"Content-Type": reply.media_type})

    async with server(answer) as url:
        vkey = format_verifier_key(witness.key.cosigner_key)
        (home / "witnesses.policy").write_text(f"witness w {vkey} {url}\nquorum w\n")
        settings = settings_from({}, home=str(home), tenant="acme")
        async with open_workplace(settings) as workplace:
            await workplace.desk()
        async with open_workplace(settings) as workplace:
            premises = Premises(workplace, ApiKeyFile(settings.keys_folder))
            premises.open_all()
            try:
                async with asyncio.timeout(60):
                    ledger = (await premises.desk("acme")).ledger
                    assert ledger.coverer is not None
                    await until(lambda: ledger.coverer.covering(1))  # type: ignore[union-attr]
                assert (await ledger.covering(1)).meta is not None
                assert await workplace.tenants() == ["acme"]
                assert ledger_name(META_TENANT) in await workplace.log.ledgers()
            finally:
                await premises.close()
    assert cosignatures_path(settings).stat().st_mode & 0o077 == 0


@pytest.mark.anyio
async def test_no_tenant_is_the_meta_log(tmp_path: Path) -> None:
    async with open_workplace(settings_from({}, home=str(tmp_path), tenant=META_TENANT)) as workplace:
        with pytest.raises(InvalidError, match="no tenant can have this name"):
            await workplace.desk()


@pytest.mark.anyio
async def test_without_a_policy_nobody_is_asked_and_receipts_are_proven_under_the_seal(
    tmp_path: Path,
) -> None:
    async with open_workplace(settings_from({}, home=str(tmp_path), tenant="acme")) as workplace:
        assert workplace.witnessing is None
        ledger = (await workplace.desk()).ledger
        await ledger.record(device(1))
        covering = await ledger.covering(1)
        assert (covering.checkpoint, covering.size, covering.meta) == (ledger.checkpoint, 3, None)
    assert not cosignatures_path(settings_from({}, home=str(tmp_path))).exists()


@pytest.mark.parametrize(
    ("text", "kind"), [("witness w nonsense\n", MalformedError), ("quorum none\n", InvalidError)]
)
def test_a_policy_that_cannot_be_read_is_told_before_anything_is_done(
    tmp_path: Path, text: str, kind: type[TallystickError]
) -> None:
    path = tmp_path / "elsewhere.policy"
    path.write_text(text)
    settings = settings_from({"TALLY_WITNESSES": str(path)}, home=str(tmp_path / "home"))
    with pytest.raises(kind):
        Workplace(settings)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "86401", "ten", "9" * 40, "\u0661"])
def test_an_interval_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    assert settings_from({"TALLY_WITNESS_SECONDS": "900"}, home=str(tmp_path)).witness_seconds == 900
    with pytest.raises(MalformedError, match="not a number of seconds"):
        settings_from({"TALLY_WITNESS_SECONDS": text}, home=str(tmp_path))
