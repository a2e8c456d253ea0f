"""A small history whose every answer is known."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from tests.projections.story import MAPPER_METRICS, SECOND_NS, SIGNAL_METRICS, Story


class Known(NamedTuple):
    """The story with the names of what happens in it."""

    story: Story
    passed_run: str
    passed_receipt: str
    failed_run: str
    failed_receipt: str
    borderline_run: str
    borderline_receipt: str
    open_run: str
    better_run: str
    better_receipt: str
    recall: str
    erased: int
    dataset_digest: str
    batches: dict[str, str]


@cache
def known() -> Known:
    """A device with two uploads: one refused by its parser, one with a passing, a borderline and an open run.
    A person's link with three payloads: one that passes, one whose mapping fails and is done again, one that
    nobody has mapped yet."""
    story = Story(1, hole_share=0.0)
    story.opening()
    signal = story.deployment("coherence", "samples", SIGNAL_METRICS[:2])
    mapper = story.deployment("oura.sleep", "oura.sleep", MAPPER_METRICS)
    places = story.device("logger-1")
    story.device("logger-idle")
    link = story.connection("link-1")
    story.connection("link-silent")

    refused, refused_index = story.batch("logger-1", "samples")
    story.quarantine(refused, refused_index, "logger-1")
    upload, upload_index = story.batch("logger-1", "samples")
    samples = story.dataset(upload, upload_index, "logger-1", "samples")
    device_indices = (signal[1], signal[0], *places)
    passed_run, started = story.start("logger-1", "coherence", samples, device_indices)
    passed_receipt = story.finish(passed_run, started, signal[2], 3, worst_value=0.5)
    passed_index = len(story.records) - 1
    borderline_run, started = story.start("logger-1", "coherence", samples, device_indices)
    borderline_receipt = story.finish(borderline_run, started, signal[2], 2, worst_value=0.93)
    borderline_index = len(story.records) - 1
    open_run, _ = story.start("logger-1", "coherence", samples, device_indices)

    mapped, mapped_index = story.batch("link-1", "oura.sleep", delay_ns=60 * SECOND_NS)
    payload = story.dataset(mapped, mapped_index, "link-1", "oura.sleep")
    indices = (mapper[1], mapper[0], link, None, None)
    first_run, started = story.start("link-1", "oura.sleep", payload, indices)
    story.finish(first_run, started, mapper[2], 1, worst_value=0.1, is_personal=True)
    drifted, drifted_index = story.batch("link-1", "oura.sleep", delay_ns=600 * SECOND_NS)
    other = story.dataset(drifted, drifted_index, "link-1", "oura.sleep")
    failed_run, started = story.start("link-1", "oura.sleep", other, indices)
    failed_receipt = story.finish(failed_run, started, mapper[2], 1, worst_value=1.0, is_personal=True)
    story.quarantine(drifted, drifted_index, "link-1", "schema_drift", "map")
    better_run, started = story.start("link-1", "oura.sleep", other, indices, supersedes=failed_receipt)
    better_receipt = story.finish(better_run, started, mapper[2], 1, worst_value=0.2, is_personal=True)
    waiting, _ = story.batch("link-1", "oura.sleep", delay_ns=3_600 * SECOND_NS)

    story.replay(passed_receipt, passed_index)
    story.replay(passed_receipt, passed_index, "diverged")
    story.configure("logger-1", "1.1.0")
    erased = story.erase("link-1")
    recall = story.recall("firmware", "logger-1/1.0.0", ((borderline_receipt, borderline_index),))
    return Known(
        story=story,
        passed_run=passed_run,
        passed_receipt=passed_receipt,
        failed_run=failed_run,
        failed_receipt=failed_receipt,
        borderline_run=borderline_run,
        borderline_receipt=borderline_receipt,
        open_run=open_run,
        better_run=better_run,
        better_receipt=better_receipt,
        recall=recall,
        erased=erased,
        dataset_digest=samples.digest,
        batches={
            "refused": refused,
            "upload": upload,
            "mapped": mapped,
            "drifted": drifted,
            "waiting": waiting,
        },
    )
