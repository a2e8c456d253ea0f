"""The console in a real browser: every page, by keyboard, on a small screen, and against hostile names."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api.command_line import main
from tests.api.browser import CHROMIUM, Page, open_page
from tests.api.served import Server, serving

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

HOSTILE = '<img src=x onerror="document.title=1">'
# What a page says when a value was forgotten.
SLIPS = ("undefined", "NaN", "[object", "Invalid Date")


@pytest.fixture(scope="module")
def server(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a copy of the story, with a device whose maker's name is an attack."""
    home = tmp_path_factory.mktemp("console") / "home"
    shutil.copytree(told, home)
    with serving(home) as started:
        device = {
            "device_id": "hostile",
            "manufacturer": HOSTILE,
            "model": "</script><script>document.title=2</script>",
            "serial_number": "1",
            "channels": [{"name": "a", "unit": "counts"}],
        }
        applied = started.ask(
            "POST",
            "/v1/setup",
            key=started.key("admin"),
            body=json.dumps({"devices": [device]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        assert applied.status == 200, applied.body
        yield started


@pytest.fixture
async def page(server: Server, tmp_path: Path) -> AsyncIterator[Page]:
    """A tab in which an auditor has signed in."""
    async with open_page(tmp_path) as opened:
        await sign_in(opened, server, server.key("audit"))
        yield opened
        assert opened.errors == []


async def sign_in(page: Page, server: Server, key: str) -> None:
    await page.go(server.url)
    await page.until("document.querySelector('#key')")
    await page.value(f"document.querySelector('#key').value = {json.dumps(key)}")
    await page.value("document.querySelector('form button').click()")
    await page.until("document.querySelector('h1')?.textContent === 'Overview'")


async def show(page: Page, path: str) -> str:
    """Go to a page of the console; returns its text."""
    await page.value("document.querySelector('main').replaceChildren()")
    await page.value(f"location.hash = {json.dumps(path)}")
    await page.until("document.querySelector('main h1')")
    text = str(await page.value("document.querySelector('main').innerText"))
    assert not any(slip in text for slip in SLIPS), text
    assert "null" not in text.split()
    return text


def ids(server: Server) -> tuple[str, str, str]:
    """A good run, a withheld one, and the good one's receipt."""
    key = server.key("read")
    good = server.get("/v1/runs?procedure=delay-track&is_presentable=true", key).json["items"][0]
    held = server.get("/v1/runs?procedure=spectra&is_presentable=false", key).json["items"][0]
    return good["run_id"], held["run_id"], good["receipt_id"]


async def test_every_page_says_what_it_has_and_fits_a_small_screen(server: Server, page: Page) -> None:
    good, held, receipt = ids(server)
    await page.resize(375, 700)
    pages = {
        "/": "The stick",
        "/runs": "colocated-seismometers",
        "/runs?verdict=borderline": "borderline",
        "/runs?procedure=nothing": "No run is like that",
        f"/runs/{good}": "delay-polarity",
        f"/runs/{held}": "Withheld",
        "/telemetry": "Telemetry",
        "/telemetry?source=colocated-seismometers&metric=sampling.gap_ratio": "sampling.gap_ratio",
        "/health": "wearer-1-oura",
        "/receipts": "delay-track",
        f"/receipts/{receipt}": "Verify it in this browser",
        "/ledger": "Public key",
        "/ledger/20": "Entry, as it is hashed",
        "/nothing": "no such page",
        "/runs/run-000000000000000000000000": "There is no such thing here",
    }
    for path, said in pages.items():
        assert said in await show(page, path), path
        assert await page.value("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
        unnamed = await page.value(
            "[...document.querySelectorAll('a,button,input,select,[role=img],[role=region],[role=group]')]"
            ".filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))"
            ".map(e => e.outerHTML.slice(0, 120))"
        )
        assert unnamed == [], path
    # A page that is not there is told by the server, and that is what the console is to show.
    page.errors[:] = [error for error in page.errors if "404" not in error]


async def test_a_receipt_is_verified_in_the_browser(server: Server, page: Page) -> None:
    _, _, receipt = ids(server)
    await show(page, f"/receipts/{receipt}")
    press = "[...document.querySelectorAll('button')].find(b => b.textContent === 'Verify').click()"
    await page.value(press)
    await page.until("document.querySelector('.outcome')?.textContent === 'This receipt verifies.'")
    assert await page.value("document.querySelectorAll('.steps li.t-p').length") == 9
    # Another key of the same form is refused, and the step is named.
    await page.value(
        "(() => { const field = document.querySelector('.mono'); const text = field.value; "
        "field.value = text.slice(0, -3) + (text.at(-3) === 'A' ? 'B' : 'A') + text.slice(-2); })()"
    )
    await page.value(press)
    await page.until("document.querySelector('.outcome')?.textContent.includes('NOT')")


async def test_no_changed_byte_of_a_bundle_verifies(server: Server, page: Page) -> None:
    """The verifier that the console carries, on its server's bundle with one byte changed at a time."""
    _, _, receipt = ids(server)
    found = await page.value(
        f"""(async () => {{
            const {{ verifyBundle }} = await import("/console/verify.js");
            const headers = {{ Authorization: "Bearer " + sessionStorage.getItem("tallystick.key") }};
            const get = (path) => fetch(path, {{ headers }});
            const key = (await (await get("/v1/ledger")).json()).verifier_key;
            const data = new Uint8Array(await (await get("/v1/receipts/{receipt}/bundle")).arrayBuffer());
            const results = [await verifyBundle(data, key, () => {{}})];
            for (let place = 0; place < data.length; place += 211) {{
                const changed = data.slice();
                changed[place] ^= 1;
                results.push(await verifyBundle(changed, key, () => {{}}));
            }}
            return results;
        }})()"""
    )
    assert found[0] == "pass"
    assert set(found[1:]) == {"fail"}


async def test_a_change_of_keys_is_followed_in_the_browser(
    told: Path, tmp_path: Path, page: Page, capfd: pytest.CaptureFixture[str]
) -> None:
    home = Path(shutil.copytree(told, tmp_path / "rotated"))

    def tally(*words: str) -> str:
        capfd.readouterr()
        assert main([*words, "--home", str(home)]) == 0
        return capfd.readouterr().out.strip()

    def ask() -> tuple[list[str], bytes]:
        receipt = json.loads(tally("receipts", "--json"))[0]["receipt_id"]
        tally("receipts", receipt, "--bundle", str(tmp_path / "b"))
        return [key["verifier_key"] for key in json.loads(tally("key", "history", "--json"))["keys"]], (
            tmp_path / "b"
        ).read_bytes()

    def change() -> list[tuple[list[str], bytes]]:
        size = json.loads(tally("key", "history", "--json"))["size"]
        tally("key", "rotate", "--reason", "once a year")
        seen = [ask()]
        first = seen[0][0][0].split("+")[1]
        tally("key", "revoke", first, "--reason", "everybody has the new one")
        tally("key", "compromised", first, "--from-index", str(size), "--reason", "it was lost")
        return [*seen, ask()]

    for keys, bundle in await asyncio.to_thread(change):
        assert b'"keys":' in bundle
        for key, changed, expected in (
            (keys[0], bundle, "pass"),
            (keys[1], bundle, "pass"),
            (keys[1], bundle.replace(b'"payload":"', b'"payload":"A', 1), "fail"),
            (keys[1][:-2] + "A=", bundle, "fail"),
        ):
            found = await page.value(
                f"""(async () => {{
                    const {{ verifyBundle }} = await import("/console/verify.js");
                    const text = {json.dumps(base64.b64encode(changed).decode())};
                    const data = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                    return verifyBundle(data, {json.dumps(key)}, () => {{}});
                }})()"""
            )
            assert found == expected


async def test_a_report_is_shown_in_a_frame_that_can_do_nothing(server: Server, page: Page) -> None:
    _, _, receipt = ids(server)
    await show(page, f"/receipts/{receipt}")
    await page.value(
        "[...document.querySelectorAll('button')].find(b => b.textContent === 'Show the report').click()"
    )
    await page.until("document.querySelector('iframe.report')")
    assert await page.value("document.querySelector('iframe').getAttribute('sandbox')") == ""


async def test_a_chart_is_read_with_the_arrow_keys(server: Server, page: Page) -> None:
    await show(page, "/telemetry?source=colocated-seismometers&metric=calibration.age_ratio")
    await page.value("document.querySelector('.chart').focus()")
    for _ in range(2):
        await page.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    said = await page.value("document.querySelector('.reading').textContent")
    assert said.startswith("2011-02-15 10:2")
    assert "0.272" in said
    assert await page.value("document.querySelector('#said').textContent") == said
    assert await page.value("document.querySelectorAll('details table tbody tr').length") > 1


async def test_hostile_names_are_text(server: Server, page: Page) -> None:
    text = await show(page, "/health")
    assert HOSTILE in text
    assert await page.value("document.querySelectorAll('main img').length") == 0
    assert await page.value("document.title") == "Health · Tallystick"


async def test_dark_and_light_both_have_contrast(server: Server, page: Page) -> None:
    for scheme, path in (("light", "/health"), ("dark", "/receipts")):
        await page.prefer(scheme)
        await show(page, path)
        ratio = await page.value(
            """(() => {
                const light = (color) => { const [r, g, b] = color.match(/[\\d.]+/g).map((n) => { n /= 255;
                    return n <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4; });
                    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
                const paper = light(getComputedStyle(document.body).backgroundColor);
                const all = [...document.querySelectorAll('main h1, main p, main td, main a, main dt')];
                return Math.min(...all.map((e) => { const ink = light(getComputedStyle(e).color);
                    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05); }));
            })()"""
        )
        assert ratio >= 4.5, (scheme, ratio)


async def test_a_reader_is_not_offered_what_is_withheld(server: Server, tmp_path: Path) -> None:
    _, held, _ = ids(server)
    key = server.key("read")
    receipt = server.get(f"/v1/runs/{held}", key).json["run"]["receipt_id"]
    async with open_page(tmp_path) as page:
        await sign_in(page, server, key)
        text = await show(page, f"/receipts/{receipt}")
        assert "withheld" in text
        assert "Replay" not in text
        rows = await page.value("[...document.querySelectorAll('tbody tr')].map(r => r.innerText)")
        assert any("spectra.columns" in row and "withheld" in row for row in rows)
        assert page.errors == []


async def test_a_key_is_asked_for_again_once_it_is_revoked(server: Server, tmp_path: Path) -> None:
    key = server.key("read")
    async with open_page(tmp_path) as page:
        await sign_in(page, server, key)
        server.keys.revoke("demo", key.split("_")[1])
        await page.value("location.hash = '/runs'")
        await page.until("document.querySelector('#key')")
        assert await page.value("sessionStorage.getItem('tallystick.key')") is None
        assert "no longer" in await page.value("document.body.innerText")


async def test_a_wrong_key_is_told(server: Server, tmp_path: Path) -> None:
    async with open_page(tmp_path) as page:
        await page.go(server.url)
        await page.until("document.querySelector('#key')")
        await page.value("document.querySelector('#key').value = 'tl_wrong'")
        await page.value("document.querySelector('form button').click()")
        await page.until("document.querySelector('[role=alert] .problem')")
        assert "mistyped" in await page.value("document.querySelector('[role=alert]').innerText")
