"""Pure arithmetic on pixels and coordinates; no I/O."""
