"""The look: readable by day and by night, for eyes that need contrast."""

import re

import pytest

from domain.report.style import STYLE

# WCAG 2.2, 1.4.3: contrast of text.
CONTRAST_MIN = 4.5


def themes() -> dict[str, dict[str, str]]:
    day = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", STYLE.partition("@media")[0]))
    night_block = STYLE.partition("prefers-color-scheme: dark")[2].partition("\n}\n")[0]
    night = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", night_block))
    return {"day": day, "night": night}


def luminance(colour: str) -> float:
    """Relative luminance of sRGB (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["day", "night"])
@pytest.mark.parametrize(
    "text, ground",
    [
        *((text, ground) for text in ("ink", "soft") for ground in ("paper", "card")),
        *((tone, ground) for tone in "pbfa" for ground in ("paper", f"{tone}-wash")),
        *(("ink", f"{tone}-wash") for tone in "pbfa"),
        ("paper", "f"),
    ],
)
def test_text_stands_out_from_its_ground(theme: str, text: str, ground: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[text], colours[ground]) >= CONTRAST_MIN


def test_both_themes_name_the_same_colours() -> None:
    found = themes()
    assert set(found["day"]) == set(found["night"])
    assert len(found["day"]) >= 20


def test_the_sheet_fetches_nothing_and_cannot_end_its_element() -> None:
    assert not re.search(r"url\(|@import|expression|https?:|<|&", STYLE)
