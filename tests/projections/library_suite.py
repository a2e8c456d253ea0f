"""The conformance suite that ``eventsourcing`` ships.

Its module imports the library's AES cipher, which needs a package that nothing here needs.  A stand-in
takes the cipher's place during the import; no test of the suite used here encrypts.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType


def _import_suite() -> ModuleType:
    import eventsourcing.tests.persistence as suite

    return suite


if find_spec("Crypto") is None and "eventsourcing.cipher" not in sys.modules:
    cipher = ModuleType("eventsourcing.cipher")
    cipher.AESCipher = type("AESCipher", (), {})  # type: ignore[attr-defined]
    sys.modules["eventsourcing.cipher"] = cipher
    try:
        suite = _import_suite()
    finally:
        del sys.modules["eventsourcing.cipher"]
else:
    suite = _import_suite()
