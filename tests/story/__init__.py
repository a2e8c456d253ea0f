"""A whole small history on real parts, and what must hold for it: replay, verification, audit, tampering."""
