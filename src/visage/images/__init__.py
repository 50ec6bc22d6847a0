"""Getting pictures: bytes from wherever the caller says, pixels out of bytes; both with limits."""
