"""golang.org/x/mod/sumdb, the code whose formats these are, as something to ask; absent on most machines."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "go_oracle" / "oracle.go"
# Where Debian's golang-golang-x-mod-dev puts its source.
GOPATH = Path("/usr/share/gocode")

Ask = Callable[..., dict[str, Any]]


def build_oracle(folder: Path) -> Ask:
    """Compile the oracle into ``folder``, or skip where there is no Go or no x/mod."""
    if shutil.which("go") is None:
        pytest.skip("no Go; Debian: apt-get install golang-go golang-golang-x-mod-dev")
    if not (GOPATH / "src/golang.org/x/mod/sumdb/note").is_dir():
        pytest.skip("no golang.org/x/mod; Debian: apt-get install golang-golang-x-mod-dev")
    program = folder / "oracle"
    environment = {**os.environ, "GO111MODULE": "off", "GOFLAGS": "", "GOPATH": str(GOPATH)}
    if "HOME" not in os.environ:
        environment["GOCACHE"] = str(folder / "cache")
    subprocess.run(["go", "build", "-o", str(program), str(SOURCE)], check=True, env=environment)

    def ask(**question: Any) -> dict[str, Any]:
        done = subprocess.run(
            [str(program)], input=json.dumps(question), text=True, capture_output=True, check=True
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return ask
