"""Backups of DATA_DIR: made while services write, put back while none does."""
