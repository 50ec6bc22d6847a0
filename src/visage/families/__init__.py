"""What a network's numbers mean: one module a family, one line in the table."""

from visage.errors import UnknownFamily
from visage.families import arcface, centerface, genderage, landmarks106, mask, retinaface, scrfd, yolov5_face, yunet
from visage.families.base import Family

FAMILIES: dict[str, Family] = {
    f.name: f
    for f in (
        scrfd.FAMILY,
        yunet.FAMILY,
        retinaface.FAMILY,
        centerface.FAMILY,
        yolov5_face.FAMILY,
        arcface.FAMILY,
        genderage.FAMILY,
        mask.FAMILY,
        landmarks106.FAMILY,
    )
}


def family(name: str) -> Family:
    """The family `name`; raises UnknownFamily with the list of those that exist."""
    if name not in FAMILIES:
        raise UnknownFamily(f"family {name!r} is not one of: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[name]
