"""Routes, by what they are for."""
