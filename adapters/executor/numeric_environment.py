"""The numeric environment: what is set before a child starts, and what is read back once numpy runs in it.

Bits of a result depend on SIMD dispatch (numpy), on the kernel and thread count of OpenBLAS, on libm, and on
the versions of all of them.  Settings are only asked for; *facts* are what the running libraries say.  The
digest of the facts is the environment's class: two runs of the same class have to agree in every bit.  The
CPU's model is no fact, because nothing is left that looks at it.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import locale
import math
import os
import platform
import struct
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from domain.canonical import canonical_json
from domain.digests import digest_of
from domain.events import NumericEnvironment

# The kernels that every x86-64 machine of the last ten years runs; on ARM the ones that every ARMv8 core
# runs.
_BLAS_CORES = {"x86_64": "Haswell", "AMD64": "Haswell", "aarch64": "ARMV8", "arm64": "ARMV8"}
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# What the dynamic loader needs on some installations.  Nothing else of the parent's environment reaches the
# child: neither secrets nor LD_PRELOAD and GLIBC_TUNABLES, which change libm.
_PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_NONE = "none"


def pinned_variables(environ: Mapping[str, str], search_path: Iterable[str]) -> dict[str, str]:
    """The whole environment of a child; ``search_path`` is where Python looks for modules."""
    core = _BLAS_CORES.get(platform.machine())
    return {
        **{name: environ[name] for name in _PASSED_ON if name in environ},
        **dict.fromkeys(_THREAD_VARIABLES, "1"),
        **({"OPENBLAS_CORETYPE": core} if core else {}),
        # All that this build of numpy can choose at run time, so that its baseline is left.  Names that
        # belong to another version, or to the baseline, would fail; these are the build's own, whatever this
        # process was started with.
        "NPY_DISABLE_CPU_FEATURES": " ".join(_numpy_core().__cpu_dispatch__),
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(_found_by_path(search_path)),
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def environment_of(facts: Mapping[str, str]) -> NumericEnvironment:
    """The environment that has these facts."""
    ordered = dict(sorted(facts.items()))
    return NumericEnvironment(class_digest=digest_of(canonical_json(ordered)), facts=ordered)


def read_facts() -> dict[str, str]:
    """What this process computes with, once the procedures are imported; every value can change bits of a
    result."""
    import numpy
    import scipy
    import scipy.fft  # Brings scipy's OpenBLAS with it, which is a fact even before a procedure calls it.

    core = _numpy_core()
    enabled = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    return {
        "blas": ", ".join(_openblas_builds()) or _NONE,
        "byte_order": sys.byteorder,
        "libc": " ".join(platform.libc_ver()) or _NONE,
        "libm_probe": _libm_probe(),
        "machine": platform.machine(),
        "numpy": numpy.__version__,
        "numpy_cpu_baseline": " ".join(core.__cpu_baseline__) or _NONE,
        "numpy_cpu_dispatched": " ".join(enabled) or _NONE,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "scipy": scipy.__version__,
    }


def find_deviations() -> list[str]:
    """Sentences on what in this process is not as asked; none means that numeric results are what they claim
    to be."""

    found = []
    core = _numpy_core()
    enabled = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    if enabled:
        found.append(f"numpy dispatches to {' '.join(enabled)}, asked for its baseline only")
    wanted = _BLAS_CORES.get(platform.machine())
    builds = _openblas_builds()
    if not builds:
        found.append("no OpenBLAS was found behind numpy and scipy, so its threads and kernels are unknown")
    for build in builds:
        _, _, kernel, threads, _ = build.split(" ")
        if threads != "1":
            found.append(f"OpenBLAS runs {threads} threads, asked for 1")
        if wanted is not None and kernel.lower() != wanted.lower():
            found.append(f"OpenBLAS uses the kernels of {kernel}, asked for {wanted}")
    if sys.flags.hash_randomization:
        found.append("hashes of strings are random, asked for PYTHONHASHSEED=0")
    if time.timezone or time.daylight:
        found.append(f"the time zone is {time.tzname[0]}, asked for UTC")
    if locale.setlocale(locale.LC_ALL, "") != "C":
        found.append(f"the locale is {locale.setlocale(locale.LC_ALL)}, asked for C")
    return found


def _numpy_core() -> ModuleType:
    """Where numpy tells what it was built with and what it uses; imported late: settings come before
    numpy."""
    return importlib.import_module("numpy._core._multiarray_umath")


def _found_by_path(search_path: Iterable[str]) -> Iterator[str]:
    """Entries that a new interpreter would not have by itself; an empty one is the current folder."""
    for entry in map(os.path.abspath, search_path):
        if not entry.startswith((sys.prefix + os.sep, sys.base_prefix + os.sep)):
            yield entry


def _openblas_builds() -> list[str]:
    """``openblas VERSION KERNELS N threads`` for every OpenBLAS that is loaded; numpy and scipy each bring
    one."""
    mapped = Path("/proc/self/maps")
    if not mapped.exists():
        return []
    paths = {line.split(maxsplit=5)[-1] for line in mapped.read_text().splitlines() if "openblas" in line}
    return sorted(build for path in paths if (build := _openblas_build(path)))


def _openblas_build(path: str) -> str:
    library = ctypes.CDLL(path)
    for prefix in ("scipy_", ""):
        for suffix in ("64_", ""):
            try:
                config = getattr(library, f"{prefix}openblas_get_config{suffix}")
                threads = getattr(library, f"{prefix}openblas_get_num_threads{suffix}")
                core = getattr(library, f"{prefix}openblas_get_corename{suffix}")
            except AttributeError:
                continue
            config.restype = core.restype = ctypes.c_char_p
            return f"openblas {config().decode().split()[1]} {core().decode()} {threads()} threads"
    return ""


def _libm_probe() -> str:
    """Digest of what libm answers at 512 points each: glibc picks other code where a CPU lacks FMA."""
    points = [k * 0.37 - 94.0 for k in range(512)]
    answers = [f(x) for f in (math.sin, math.cos, math.tan, math.atan, math.exp, math.tanh) for x in points]
    answers += [f(abs(x) + 0.01) for f in (math.log, math.log10, math.log2) for x in points]
    answers += [math.pow(abs(x) + 0.01, 0.37) for x in points] + [math.atan2(x, 0.37) for x in points]
    return hashlib.sha256(struct.pack(f"<{len(answers)}d", *answers)).hexdigest()[:16]
