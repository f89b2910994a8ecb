"""A caller's Idempotency-Key: one answer, one ledger row and one charge a key, however often it is sent."""
