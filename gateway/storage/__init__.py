"""The ledger's tables, the engine and the migrations: SQLite and PostgreSQL alike."""
