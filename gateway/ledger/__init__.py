"""The ledger: what was asked, answered, spent and scored, from a spool file to SQL, and what reads it.

A call is appended to a spool file of its worker before the last byte of the answer leaves (``spool``); one writer
process ships spools to SQL (``writer``) and posts events to Prefect (``outbox``); flows read by ``queries``.
"""
