"""The store in SQL: SQLite beside the work, PostgreSQL for clusters."""
