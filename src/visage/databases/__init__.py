"""SQLite files and what lies beside them, whatever is in their tables."""
