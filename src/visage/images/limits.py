"""How large a picture may be."""

from dataclasses import dataclass

from visage.errors import ImageTooLarge, ImageUndecodable


@dataclass(frozen=True, slots=True)
class Limits:
    """`bytes` and `pixels` (width × height) that one image may have."""

    bytes: int = 32 * 1024 * 1024
    pixels: int = 50_000_000

    def judge(self, width: int, height: int) -> None:
        """Asked before pixels get their memory. Raises ImageTooLarge, or ImageUndecodable where there are none."""
        if width * height > self.pixels:
            raise ImageTooLarge(f"The image has {width}×{height} pixels; at most {self.pixels} are decoded")
        if width < 1 or height < 1:
            raise ImageUndecodable(f"The image has no pixels: {width}×{height}")
