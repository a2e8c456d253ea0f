"""A development node that speaks EventStoreDB's gRPC protocol over an embedded file.  Not for production.

Read in this order: :mod:`node` (what it serves), :mod:`store` (the log and its rules), :mod:`record` and
:mod:`records_file` (bytes), :mod:`read_method`, :mod:`append_methods`, :mod:`group` (what clients see),
:mod:`http2` and :mod:`call` (the wire).
"""
