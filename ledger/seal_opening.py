"""Opening the seals of a ledger many at a time: the same answer as opening each, sooner.

``first_fault`` says how many seals in a row are right: signed by the keys that ruled at their index, over
exactly the size and the root that were derived.  Nearly all are, and nearly all are signed by one Ed25519 key
alone.  Then it is known to the byte what that key would have signed and how the note is spelled, and nothing
but the signature has to be looked at.  What is not spelled like that is opened step by step
(``ledger.sealing_keys``), which also says what is wrong with it.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from domain.errors import TallystickError
from domain.key_history import KeyHistory
from ledger.chain import PartSeal
from ledger.checkpoint import Checkpoint, format_checkpoint
from ledger.notes import Algorithm, NoteSignature, VerifierKey, format_signature_lines
from ledger.sealing_keys import all_keys, key_extensions, open_seal, ruling_keys

# Key id and Ed25519 signature, 68 bytes, in base64.
_SIGNATURE_CHARACTERS = 92

Expected = tuple[PartSeal, bytes]
"""A seal, and the root it should be signed over."""


def first_fault(seals: Sequence[Expected], keys: KeyHistory, origin: str) -> tuple[int, str]:
    """How many of ``seals``, in order of their indices, are right, and what is wrong with the next; nothing
    when all are.  ``keys`` is the history that all of them cover."""
    key = _only_key(seals, keys, origin)
    key_id = key.key_id if key else b""
    extensions = key_extensions(keys)
    for count, (seal, root) in enumerate(seals):
        expected = Checkpoint(origin=origin, size=seal.index + 1, root=root, extensions=extensions)
        if key and _is_right(expected, seal.note, key, key_id):
            continue
        try:
            checkpoint = open_seal(seal.note, keys, seal.index, origin)
        except TallystickError as error:
            return count, str(error)
        if checkpoint.size != expected.size:
            return count, f"signed over {checkpoint.size} entries, stands at {expected.size}"
        if checkpoint.root != root:
            return count, "signed over another root: the entries under it are not those it was made for"
    return len(seals), ""


def _only_key(seals: Sequence[Expected], keys: KeyHistory, origin: str) -> VerifierKey | None:
    """The Ed25519 key of the ledger that rules alone over all of ``seals``, where there is one."""
    first, last = seals[0][0].index, seals[-1][0].index
    for span in keys.spans:
        for change in (span.from_index, span.until_index, span.believed_until_index):
            if change is not None and first < change <= last:
                return None
    ruling = ruling_keys(keys, first)
    if len(ruling) != 1 or ruling[0].algorithm is not Algorithm.ED25519 or ruling[0].name != origin:
        return None
    key = ruling[0]
    is_alone = all(other == key or other.key_id != key.key_id for other in all_keys(keys))
    return key if is_alone else None


def _is_right(expected: Checkpoint, note: bytes, key: VerifierKey, key_id: bytes) -> bool:
    """Whether ``note`` is ``expected`` signed by ``key``, a key of that name, and by nobody else.  A yes is
    true, a no may be wrong.  A checkpoint holds nothing that a note may not, so this note would parse."""
    text = format_checkpoint(expected)
    try:
        signature = binascii.a2b_base64(note[-_SIGNATURE_CHARACTERS - 1 : -1])[len(key_id) :]
    except binascii.Error:
        return False
    lines = format_signature_lines((NoteSignature(name=key.name, key_id=key_id, signature=signature),))
    return note == f"{text}\n{lines}".encode() and key.has_signed(text, signature)
