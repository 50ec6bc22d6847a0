"""Face detection and recognition as a REST service."""

__version__ = "0.1.0"
