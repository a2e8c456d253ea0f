"""Bytes, order and proof: entries, chain, Merkle tree, seals, keys, receipts, verification, replay and audit.

This room knows formats and rules; the outside world (stores, vaults, key stores, executors, the clock) enters
through the ports in ``ledger.ports``.
"""
