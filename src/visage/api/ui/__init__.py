"""The page at /ui: static files, and what says how they are served. No build step, nothing from outside."""
