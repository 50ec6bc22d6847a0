"""What callers have at hand either works or is refused by the client's own words, before anything is sent."""

import base64
import inspect
import io
import json
import typing
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

from tests.client.fake import Fake, embedding
from visage_client import Client, NewPerson, Remote, Row, many, requests
from visage_client.binding import Method
from visage_client.encoded import NoPicture

Connect = Callable[..., Client]

PIXELS = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
JPEG = cv2.imencode(".jpg", PIXELS)[1].tobytes()
PNG = cv2.imencode(".png", PIXELS)[1].tobytes()
LONGEST = 500  # of a message: our words, and some 200 characters of what was given


def sent(fake: Fake) -> Any:
    """The picture of the last request, in whichever form."""
    body = fake.seen[-1].body
    if isinstance(body, bytes):
        return body
    (image,) = body["images"]
    return base64.b64decode(image) if isinstance(image, str) else image


# --- Pictures


@pytest.mark.parametrize("picture", [JPEG, PNG, cv2.imencode(".webp", PIXELS)[1].tobytes()], ids=["jpg", "png", "webp"])
@pytest.mark.parametrize(
    "text",
    [
        lambda data: base64.b64encode(data).decode(),
        lambda data: base64.encodebytes(data).decode(),
        lambda data: base64.b64encode(data).decode().rstrip("="),
        lambda data: base64.urlsafe_b64encode(data).decode(),
        lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode(),
        lambda data: "DATA:;charset=x;BASE64," + base64.b64encode(data).decode().replace("+", "%2B"),
        base64.b64encode,
        lambda data: b"data:image/png;base64," + base64.b64encode(data),
        lambda data: io.BytesIO(base64.b64encode(data)),
        lambda data: base64.b64encode(data).decode() + "\n",
    ],
    ids=["plain", "lines", "unpadded", "of URLs", "data URI", "odd URI", "bytes", "URI in bytes", "file", "break"],
)
def test_base64_of_a_picture_is_the_picture(
    client: Client, fake: Fake, picture: bytes, text: Callable[[bytes], Any]
) -> None:
    client.detect(text(picture))
    assert sent(fake) == picture


@pytest.mark.parametrize(
    "text",
    [
        "x" * 400_001,
        "not base64! " * 40_000,
        base64.b64encode(JPEG * 20).decode().replace("+", " "),
        json.dumps({"a": "b" * 5000}),
        "data:image/jpeg;base64",
        "data:image/jpeg;base64,!!!!",
        "ftp://example.org/a.jpg" + "/a" * 3000,
        "s3://bucket/key.jpg",
        "",
        "a\0b.jpg",
        "a/" * 1500,
        "n" * 300,
    ],
    ids=lambda text: text[:20],
)
@pytest.mark.parametrize("several", [False, True])
def test_a_text_that_is_no_picture_is_told_shortly(client: Client, fake: Fake, text: str, several: bool) -> None:
    with pytest.raises((NoPicture, OSError)) as raised:
        client.detect([text, b"one"] if several else text)
    assert len(str(raised.value)) < LONGEST and len(repr(raised.value)) < LONGEST
    assert not fake.seen


def test_a_file_of_such_a_name_is_a_file(client: Client, fake: Fake, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    name = base64.b64encode(JPEG).decode()[:100].replace("/", "_")
    name = "iVBORw0KGgo" + name
    Path(name).write_bytes(b"file")
    client.detect(name)
    assert sent(fake) == b"file"
    client.detect((tmp_path / name).as_uri())
    assert sent(fake) == b"file"


@pytest.mark.parametrize(
    "file",
    [
        cv2.imencode(".jpg", PIXELS)[1],
        cv2.imencode(".jpg", PIXELS)[1].reshape(-1, 1),
        np.frombuffer(JPEG, np.uint8),
        array("B", JPEG),
        memoryview(JPEG),
        memoryview(bytearray(JPEG)),
    ],
    ids=["imencode", "column", "frombuffer", "array", "memoryview", "writable"],
)
def test_bytes_of_a_file_in_whatever_holds_them(client: Client, fake: Fake, file: Any) -> None:
    client.detect(file)
    assert sent(fake) == JPEG
    client.detect([file, file])
    assert len(fake.seen[-1].body["images"]) == 2


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK", "I;16", "YCbCr", "F"])
def test_a_picture_of_pillow_is_sent_as_a_png_of_its_pixels(client: Client, fake: Fake, mode: str) -> None:
    picture = PIL.Image.fromarray(PIXELS).convert("I" if mode == "I;16" else mode).convert(mode)
    client.detect(picture)
    with PIL.Image.open(io.BytesIO(sent(fake))) as found:
        assert found.size == (30, 20)
        assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(picture.convert("RGB")))


def test_how_a_picture_of_pillow_is_turned_goes_with_it(client: Client, fake: Fake) -> None:
    exif = PIL.Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(file, "JPEG", exif=exif)
    client.detect(PIL.Image.open(file))
    with PIL.Image.open(io.BytesIO(sent(fake))) as found:
        assert found.getexif()[274] == 6


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (PIXELS, "cv2.imencode"),
        (PIXELS.astype(np.float32), "cv2.imencode"),
        (PIXELS[..., 0], r"20×30"),
        (np.zeros((2, 20, 30, 3), np.uint8), "cv2.imencode"),
        ([PIXELS, PIXELS], "cv2.imencode"),
        ({"url": "https://example.org/a.jpg"}, "dict"),
        ([{"image": "a.jpg"}], "dict"),
        ({b"one", b"two"}, "no order"),
        ([None], "NoneType"),
        (5, "int"),
        ([["a.jpg"]], "list"),
        (cv2.imencode(".jpg", PIXELS), "bool"),
        (array("f", [1, 2]), "row of numbers"),
        (memoryview(array("f", [1, 2])), "row of numbers"),
        (io.StringIO("text"), "binary"),
        (NewPerson(), "NewPerson"),
    ],
    ids=lambda what: type(what).__name__,
)
def test_what_is_no_picture_is_refused_in_words_of_our_own(client: Client, fake: Fake, what: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said) as raised:
        client.embeddings(what)
    assert len(str(raised.value)) < LONGEST
    assert not fake.seen


def test_names_in_an_array_and_pictures_of_a_generator_are_a_list(client: Client, fake: Fake, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{n}.jpg") for n in range(3)]
    for path in paths:
        Path(path).write_bytes(path.encode())
    for several in (np.array(paths), np.array(paths, object), tuple(paths), (path for path in paths), iter(paths)):
        assert len(client.detect(several).images) == 3
    assert len({str(seen.body["images"]) for seen in fake.seen}) == 1


def test_in_a_long_row_what_is_no_picture_is_told_in_its_place(client: Client) -> None:
    found = list(client.detect_all([b"one", "y" * 9999, "s3://bucket/a.jpg", "two!" * 9999, b"two"], batch=5))
    assert [image.status for image in found] == ["ok", "ok", "failed", "failed", "ok"]
    assert found[3].error is not None and "neither a path" in found[3].error.detail
    assert len(found[3].error.detail) < LONGEST
    with pytest.raises(TypeError, match="imencode"):
        list(client.detect_all([b"one", PIXELS]))


# --- Vectors


ONE = embedding(b"one")


@pytest.mark.parametrize(
    "vector",
    [
        ONE,
        tuple(ONE),
        array("f", ONE).tobytes(),
        bytearray(array("f", ONE).tobytes()),
        memoryview(array("f", ONE)),
        memoryview(array("f", ONE).tobytes()),
        array("d", ONE),
        np.array(ONE, np.float16),
        np.array([ONE], np.float64),
        [np.float32(number) for number in ONE],
    ],
    ids=["list", "tuple", "bytes", "bytearray", "floats", "view", "doubles", "float16", "row", "numbers"],
)
def test_a_vector_of_any_kind(client: Client, fake: Fake, vector: Any) -> None:
    client.create_collection("staff")
    client.enrol("staff", id="p", vectors=[vector])
    assert [row.vector for row in client.export("staff")][:1] == [array("f", ONE)]


@pytest.mark.parametrize(
    "one",
    [
        ONE,
        array("f", ONE),
        memoryview(array("f", ONE)),
        np.array(ONE),
        array("f", ONE).tobytes(),
        tuple(ONE),
        [np.float32(number) for number in ONE],
    ],
    ids=lambda one: type(one).__name__,
)
def test_one_vector_where_a_list_is_meant_is_one(client: Client, fake: Fake, one: Any) -> None:
    client.create_collection("staff")
    assert client.enrol("staff", id="p", vectors=one).vectors == 1
    assert len(client.search("staff", vectors=one).probes) == 1
    assert client.bulk_enrol("staff", [Row(one, id="q")]).faces == 1
    assert client.enrol("staff", id="r", vectors=np.array([ONE, ONE])).vectors == 2


@pytest.mark.parametrize(
    "vector",
    ["vector", {0: 1.0}, {1.0, 2.0}, b"12345", b"", [], ["1", "2"], [[1.0, 2.0], [3.0, 4.0]], np.eye(3), [None]],
    ids=str,
)
def test_what_is_no_vector_is_refused_in_words_of_our_own(client: Client, fake: Fake, vector: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="vector"):
        client.search("staff", vectors=[vector])
    assert not fake.seen


def test_of_two_that_are_compared_arrays_are_told_apart(client: Client) -> None:
    file = np.frombuffer(b"one" + bytes(97), np.uint8)
    compared = client.compare(file, np.array(ONE))
    assert (compared.a.kind, compared.b.kind) == ("image", "vector")
    with pytest.raises(TypeError, match="imencode"):
        client.compare(PIXELS, ONE)
    with pytest.raises(ValueError, match="row of numbers"):
        client.compare(["a.jpg"], ONE)  # type: ignore[list-item]


# --- Lists, of every call


def several(annotation: Any) -> bool:
    """Whether a parameter of this annotation takes a list of things."""
    if isinstance(annotation, UnionType) or typing.get_origin(annotation) is typing.Union:
        return any(several(one) for one in typing.get_args(annotation))
    return typing.get_origin(annotation) in (Sequence, Iterable, tuple, list)


def lists() -> Iterator[tuple[str, str]]:
    for name, value in vars(Client).items():
        if isinstance(value, Method):
            make = getattr(requests, name, None) or getattr(many, name)
            for parameter, annotation in typing.get_type_hints(make).items():
                if parameter != "return" and several(annotation):
                    yield name, parameter


def ask(client: Client, name: str, **given: Any) -> Any:
    """The call with these arguments, and something for every other one that it needs."""
    make = getattr(requests, name, None) or getattr(many, name)
    needed = {"images": b"one", "a": b"one", "b": b"one", "people": [], "rows": [], "image": b"one"}
    for parameter in inspect.signature(make).parameters.values():
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            given.setdefault(parameter.name, needed.get(parameter.name, "staff"))
    answer = getattr(client, name)(**given)
    return list(answer) if isinstance(answer, Iterator) else answer


def test_the_lists_are_found() -> None:
    assert {("embed_all", "images"), ("enrol", "vectors"), ("bulk_enrol", "rows"), ("enrol_all", "people")} <= set(
        lists()
    )
    assert {("detect", "max_size"), ("extract", "images"), ("search", "vectors"), ("compare", "a")} <= set(lists())


@pytest.mark.parametrize(("name", "parameter"), list(lists()))
@pytest.mark.parametrize("given", ["abc.jpg", b"abc", {"a": 1}, 7, {1, 2}], ids=str)
def test_what_is_no_list_is_one_thing_or_is_refused_and_never_taken_apart(
    connect: Connect, fake: Fake, tmp_path: Path, monkeypatch: Any, name: str, parameter: str, given: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("abc.jpg").write_bytes(b"file")
    client = connect()
    client.create_collection("staff")
    client.enrol("staff", id="staff", vectors=[ONE])
    fake.seen.clear()
    try:
        ask(client, name, **{parameter: given})
    except (TypeError, ValueError) as error:
        assert type(error) in (TypeError, ValueError, NoPicture) and "unexpected" not in str(error)
        frame = inspect.getinnerframes(error.__traceback__)[-1]  # type: ignore[arg-type] # it was raised
        assert "visage_client" in frame.filename, f"{error!r} is not the client's own"
        assert not fake.seen
        return
    (seen,) = fake.seen
    body = seen.body
    if not isinstance(body, bytes):
        images = body.get("images", [])
        pictures = images.get("data", []) if isinstance(images, dict) else images
        assert len(pictures) + len(body.get("vectors", [])) + len({"a", "b"} & body.keys()) <= 2
        assert pictures in ([], [b"file"], [b"abc"]) or parameter not in ("images", "image")


def test_rows_may_be_dicts_and_one_is_one(client: Client, fake: Fake) -> None:
    client.create_collection("staff")
    rows: list[Any] = [{"id": "ada", "vectors": [ONE]}, Row([ONE], id="eve"), {"id": "joe", "vectors": np.array(ONE)}]
    assert client.bulk_enrol("staff", rows).persons == 3
    assert client.bulk_enrol("staff", rows[0]).persons == 1
    assert client.bulk_enrol("staff", rows[1]).persons == 1
    (one,) = client.enrol_all("staff", {"name": "Ada", "images": b"one"})
    assert one.enrolled is not None and one.person == NewPerson(name="Ada", images=b"one")
    (one,) = client.enrol_all("staff", NewPerson(name="Eve", images=b"one"))
    assert one.enrolled is not None
    fake.seen.clear()
    with pytest.raises(TypeError, match="no 'vector', only vectors, id"):
        client.bulk_enrol("staff", [{"id": "ada", "vector": ONE}])
    with pytest.raises(TypeError, match="dict of id, name"):
        list(client.enrol_all("staff", ["ada"]))  # type: ignore[list-item]
    assert not fake.seen


# --- Other values


def test_numbers_of_numpy_are_numbers(client: Client, fake: Fake) -> None:
    client.detect(b"one", threshold=np.float32(0.5), max_size=(np.int64(640), 480), landmarks=np.bool_(False))  # type: ignore[arg-type]
    wanted = {"threshold": "0.5", "max_size": "640,480", "landmarks": "false"}
    assert {name: fake.seen[-1].query[name] for name in wanted} == wanted
    client.create_collection("staff", metadata={"floor": np.int64(2), "area": np.array([1.5, 2.0])})
    assert fake.seen[-1].body["metadata"] == {"floor": 2, "area": [1.5, 2.0]}
    list(client.persons("staff", where={"floor": np.int64(2)}))
    assert json.loads(fake.seen[-1].query["where"]) == {"floor": 2}


@pytest.mark.parametrize("value", [Path("a"), object(), 1j, Remote("a")], ids=lambda one: type(one).__name__)
def test_what_metadata_cannot_hold_is_told(client: Client, fake: Fake, value: Any) -> None:
    with pytest.raises(TypeError, match="a field holds"):
        client.create_collection("staff", metadata={"x": value})
    assert not fake.seen


@pytest.mark.parametrize("name", [5, None, b"staff", ["staff"]], ids=str)
def test_a_name_is_a_text(client: Client, fake: Fake, name: Any) -> None:
    with pytest.raises(TypeError, match="a name or an id is text"):
        client.person(name, "ada")
    assert not fake.seen


def test_one_picture_is_drawn_at_a_time(client: Client, fake: Fake) -> None:
    with pytest.raises(TypeError, match="one picture"):
        client.draw_detections([b"one", b"two"])  # type: ignore[arg-type]
    assert not fake.seen
