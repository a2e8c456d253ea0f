"""Coverage-guided fuzzing of one target with atheris, from the seeds on.

    python -m tests.fuzz.harness TARGET FOLDER SECONDS

FOLDER holds the corpus, which grows from run to run, and ``crash-…`` files for what was found; run
``python -m tests.fuzz.harness TARGET FOLDER 0 FILE`` to see one again.  `nox -s fuzz` does this for every
target in turn.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["domain", "ledger", "adapters", "msgspec", "yaml"]):
    from tests.docs.test_verify import verify
    from tests.fuzz.seeds import make_seeds
    from tests.fuzz.targets import targets

# Longer ones teach nothing that these do not, and slow everything down.
BYTES_MAX = 65_536


def main(name: str, folder: Path, seconds: int, files: list[str]) -> None:
    seeds = make_seeds()
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds.by_kind[name]:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    target = targets(seeds, verify)[name]
    options = [
        sys.argv[0],
        *(files or [str(corpus), f"-max_total_time={seconds}"]),
        f"-max_len={BYTES_MAX}",
        f"-artifact_prefix={folder}/{name}-",
        "-rss_limit_mb=2048",
        "-timeout=20",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup(options, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
