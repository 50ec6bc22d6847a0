"""All of what a store tells a page at a time."""

from collections.abc import Iterator

from visage.search.base import Collection, Store


def every_collection(store: Store) -> Iterator[Collection]:
    """In order of name."""
    after = ""
    while page := store.collections(after=after):
        yield from page
        after = page[-1].name
