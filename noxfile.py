"""The project's checks, each by name: `nox -l` lists them, `nox -s NAME` runs one.

Sessions run inside the `.venv` that `make` has made from the lock, so nothing is installed twice.
The ones tagged `checks` are what `make test` runs before the tests; the tests come last there, started by
make itself, so that the last line a person or a CI reads is pytest's own summary.
"""

import ast
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "imports", "wheel", "tests"]

PACKAGES = frozenset({"domain", "ledger", "projections", "adapters", "api"})
SCRIPTS = Path(sysconfig.get_path("scripts"))
UV = "uv==0.13.9"


@nox.session(tags=["checks"])
def lint(session: nox.Session) -> None:
    """Refuse style faults and unformatted files. `nox -s format` repairs most of them."""
    everything = ("--output-format", "concise", ".")
    session.run(sys.executable, "-m", "ruff", "check", *everything)
    session.run(sys.executable, "-m", "ruff", "format", "--check", *everything)


@nox.session(name="format")
def format_(session: nox.Session) -> None:
    """Repair what `lint` would refuse, in the files named after `--` or everywhere."""
    session.run(sys.executable, "-m", "ruff", "check", "--fix", *(session.posargs or ["."]))
    session.run(sys.executable, "-m", "ruff", "format", *(session.posargs or ["."]))


@nox.session(tags=["checks"])
def types(session: nox.Session) -> None:
    """Check the types of the five packages, strictly."""
    session.run(sys.executable, "-m", "mypy")


@nox.session(tags=["checks"])
def imports(session: nox.Session) -> None:
    """Check who may import whom: the contracts are in pyproject.toml."""
    session.run(str(SCRIPTS / "lint-imports"), "--no-logo", external=True)


@nox.session(tags=["checks"])
def wheel(session: nox.Session) -> None:
    """Build the wheel, look at what is in it, and run `tally --help` from it away from the source tree."""
    with tempfile.TemporaryDirectory(prefix="tallystick-wheel-") as name:
        folder = Path(name)
        session.run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", name, ".")
        (built,) = folder.glob("*.whl")
        check_contents(session, built)

        # A venv of its own, given the pinned dependencies by path and this project only by the wheel: a path
        # line in a .pth file does not follow the .pth files it leads to, so the source tree stays unseen.
        clean = folder / "venv"
        session.run(sys.executable, "-m", "venv", str(clean))
        (purelib,) = clean.glob("lib/python*/site-packages")
        (purelib / "pinned.pth").write_text(sysconfig.get_path("purelib") + "\n")
        with session.chdir(name):
            install = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(built))
            session.run(str(clean / "bin" / "python"), *install, external=True)
            session.run(str(clean / "bin" / "tally"), "--help", external=True, silent=True)


def check_contents(session: nox.Session, built: Path) -> None:
    """The wheel holds the five packages, every file in them, and nothing else."""
    with zipfile.ZipFile(built) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    tops = {name.split("/")[0] for name in names}
    found = {top for top in tops if not top.endswith(".dist-info")}
    if found != PACKAGES:
        session.error(f"the wheel holds {sorted(found)}, not the five packages {sorted(PACKAGES)}")
    files = (path for package in PACKAGES for path in Path(package).rglob("*") if path.is_file())
    missing = {path.as_posix() for path in files if "__pycache__" not in path.parts} - names
    if missing:
        session.error(f"the wheel lacks {sorted(missing)}")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, or those named after `--`."""
    session.run(sys.executable, "-m", "pytest", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Kill and fail at every write, fsync and rename, one run each, and change every byte of what is handed
    out; takes long, the gate does a few."""
    places, env = ("tests/faults", "tests/docs/test_every_byte.py"), {"TALLY_FAULTS": "all"}
    session.run(sys.executable, "-m", "pytest", *places, *session.posargs, env=env)


@nox.session(venv_backend="venv", reuse_venv=True)
def fuzz(session: nox.Session) -> None:
    """Let coverage find what upsets a parser: every target 20 s, or `-- note 600` one of them for longer."""
    try:
        session.install("--require-hashes", "--no-deps", "-r", "requirements/fuzz.txt", silent=True)
    except nox.command.CommandFailed:
        session.skip("atheris does not install here: it has wheels for some Pythons and platforms only")
    python = Path(session.virtualenv.location) / "bin" / "python"
    (purelib,) = Path(session.virtualenv.location).glob("lib/python*/site-packages")
    (purelib / "pinned.pth").write_text(sysconfig.get_path("purelib") + "\n")
    asked = session.posargs or [*fuzz_targets(), "20"]
    *names, seconds = asked if asked[-1].isdigit() else [*asked, "20"]
    folder = Path(session.virtualenv.location) / "corpus"
    for name in names:
        harness = ("-m", "tests.fuzz.harness", name, str(folder), seconds)
        session.run(str(python), *harness, env={"PYTHONPATH": "."}, external=True)
    found = [path.name for path in folder.glob("*-*") if path.is_file()]
    if found:
        session.error(f"found in {folder}: {', '.join(sorted(found))}")


def fuzz_targets() -> tuple[str, ...]:
    """The names that the tests go through, too."""
    text = Path("tests/fuzz/test_targets.py").read_text()
    (names,) = (node for node in ast.parse(text).body if is_assignment(node, "NAMES"))
    return tuple(one.value for one in ast.walk(names) if isinstance(one, ast.Constant))


def is_assignment(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and [getattr(one, "id", "") for one in node.targets] == [name]


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: every figure is a ratio to something else measured in the same run."""
    session.run(str(SCRIPTS / "tally"), "bench", *session.posargs, external=True)


@nox.session(venv_backend="venv", reuse_venv=True)
def lock(session: nox.Session) -> None:
    """Write requirements/*.txt from pyproject.toml; `-- --upgrade` moves every pin, not only what must."""
    session.install(UV)
    compiled = (
        *("uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
        *("--fork-strategy", "fewest", "--generate-hashes", "--no-annotate", "--no-emit-index-url"),
        *("--custom-compile-command", "nox -s lock"),
    )
    whole, runtime, demo = (f"requirements/{name}.txt" for name in ("test", "runtime", "demo"))
    session.run(*compiled, *session.posargs, "pyproject.toml", "--group", "test", "-o", whole)
    # One set of versions: the runtime lock is the part of the whole one that people outside the tests need.
    Path(runtime).unlink(missing_ok=True)
    session.run(*compiled, "pyproject.toml", "--group", "package", "-c", whole, "-o", runtime)
    for group, path in (("demo", demo), ("fuzz", "requirements/fuzz.txt")):
        session.run(
            *compiled, *session.posargs, "--no-deps", "--group", f"pyproject.toml:{group}", "-o", path
        )
