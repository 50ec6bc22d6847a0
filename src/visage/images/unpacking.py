"""Pictures that a server packed for their way (Content-Encoding)."""

from visage.codings import Broken, TooLarge, UnknownCoding, begins_as, codings_of, has_signature, unpack
from visage.errors import ImageTooLarge, ImageUnreachable


def unpacked(body: bytes, header: str, limit: int, name: str) -> bytes:
    """What a server packed although it was asked not to.

    Some say so of a file that they send as it is, or say twice what they did once: what does not begin as its coding
    does, or names one that is not known, stays as it is, and is a picture or not.
    Raises ImageTooLarge and ImageUnreachable.
    """
    try:
        codings = codings_of(header)
    except UnknownCoding:
        return body
    for coding in reversed(codings):
        if not begins_as(coding, body):
            continue
        try:
            body = unpack(body, coding, limit)
        except TooLarge as exc:
            raise ImageTooLarge(f"{name}: {exc}") from exc
        except Broken as exc:
            if not has_signature(coding):
                continue
            raise ImageUnreachable(f"{name} was sent with Content-Encoding: {coding}, and {exc}") from exc
    return body
