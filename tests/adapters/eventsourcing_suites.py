"""The conformance suites that the ``eventsourcing`` wheel ships.

They import the library's AES cipher made with pycryptodome, which nothing here needs; the library's other AES
cipher, made with ``cryptography``, stands in for it.
"""

import sys
from importlib.util import find_spec

from eventsourcing import cryptography

if find_spec("Crypto") is None:
    sys.modules.setdefault("eventsourcing.cipher", cryptography)

from eventsourcing.tests import application, persistence

__all__ = ["application", "persistence"]
