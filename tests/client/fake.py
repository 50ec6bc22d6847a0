"""A service that speaks as visage does, in a few lines and without networks: every picture shows one face, whose
embedding is made of its bytes. For clients' tests; what the real one says is tested beside it.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
import msgpack

MODEL = {"name": "sface", "sha256": "f" * 64, "preprocess": "rgb", "dimension": 4}
NOW = "2026-01-02T03:04:05.678Z"
MODELS = {"det": "yunet@49f000ec501f", "rec": "sface@fb143eea0783"}
QUALITY = {"score": 0.9, "size": 40.0, "sharpness": 120.0, "yaw": 1.0, "pitch": 2.0, "roll": 3.0}
PNG = b"\x89PNG fake"
BROKEN = b"broken"
EMPTY = b"nobody"
BLURRED = b"blurred"


class Refusal(Exception):
    def __init__(self, status: int, kind: str, detail: Any, **more: Any) -> None:
        self.status = status
        self.body = {"type": f"urn:visage:{kind}", "title": kind, "status": status, "detail": detail, **more}


@dataclass
class Seen:
    """A request as it came; `body` is read, of a bare picture its bytes."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass
class Fake:
    """`before`: answers or errors that come first, one a request."""

    before: list[httpx.Response | Exception] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: dict[str, tuple[Any, httpx.Response]] = field(default_factory=dict)
    too_many: int = 100
    made: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(seen_of(request))
        if self.before:
            first = self.before.pop(0)
            if isinstance(first, Exception):
                raise first
            return first
        try:
            return self._once(self.seen[-1])
        except Refusal as refusal:
            headers = {"X-Request-Id": "r1", "Content-Type": "application/problem+json"}
            return httpx.Response(refusal.status, headers=headers, content=json.dumps(refusal.body).encode())

    async def aside(self, request: httpx.Request) -> httpx.Response:
        return self(request)

    def _once(self, seen: Seen) -> httpx.Response:
        key = seen.headers.get("idempotency-key")
        if key in self.kept:
            return self.kept[key][1]
        response = self._answer(seen)
        if key:
            self.kept[key] = seen.body, response
        return response

    def _answer(self, seen: Seen) -> httpx.Response:  # noqa: C901, PLR0911 — a table of routes
        match [unquote(part) for part in seen.path.strip("/").split("/")]:
            case ["v1", ("detect" | "embeddings") as what]:
                images = [self._found(one, what == "embeddings", seen) for one in self._images(seen)]
                return told(seen, {"images": images, "models": MODELS, "took_ms": 1.5})
            case ["v1", "compare"]:
                return told(seen, self._compared(seen.body))
            case ["v1", "collections"] if seen.method == "POST":
                return told(seen, self._create(seen.body), 201)
            case ["v1", "collections"]:
                return told(seen, page([self._collection(name) for name in sorted(self.collections)], seen))
            case ["v1", "collections", name, *rest]:
                if name not in self.collections:
                    raise Refusal(404, "collection-missing", f"There is no collection {name!r}")
                return self._in_collection(seen, name, rest)
            case ["extract"]:
                return told(seen, self._extracted(seen))
            case ["draw_detections"]:
                return httpx.Response(200, headers={"Content-Type": seen.headers["accept"]}, content=b"drawn")
            case ["info"]:
                models = {"det_name": "yunet", "rec_name": "sface", "ga_name": None}
                return told(seen, {"version": "0.1.0", "models": models, "defaults": {}, "visage": {"ready": True}})
            case ["models"]:
                row = {"name": "sface", "task": "recognition", "family": "arcface", "threshold": 0.363, "loaded": True}
                return told(seen, {"models": [row]})
            case ["ready"]:
                return told(seen, {"status": "ready"})
        raise Refusal(404, "", "Not Found")

    def _in_collection(self, seen: Seen, name: str, rest: list[str]) -> httpx.Response:  # noqa: C901, PLR0911, PLR0912
        people = self.collections[name]["people"]
        match (seen.method, rest):
            case ("GET", []):
                return told(seen, self._collection(name))
            case ("PATCH", []):
                self.collections[name]["about"].update(seen.body)
                return told(seen, self._collection(name))
            case ("DELETE", []):
                del self.collections[name]
                return httpx.Response(204)
            case ("POST", ["compact"]):
                return told(seen, self._collection(name))
            case ("POST", ["search"]):
                return told(seen, self._search(seen, people))
            case ("POST", ["bulk"]):
                return self._bulk(seen, people)
            case ("GET", ["export"]):
                form = seen.query["vectors"]
                rows = [self._exported(one, face, form) for one in people.values() for face in one["vectors"]]
                return httpx.Response(
                    200, content="".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
                )
            case ("POST", ["persons"]):
                return told(seen, self._enrolled(people, seen.body, seen.body.get("id")), 201)
            case ("GET", ["persons"]):
                where = json.loads(seen.query.get("where", "{}"))
                met = [p for _, p in sorted(people.items()) if where.items() <= p["person"]["metadata"].items()]
                return told(seen, page([shown(one) for one in met], seen))
            case (_, ["persons", person, *_]) if person not in people:
                raise Refusal(404, "person-missing", f"There is no person {person!r}")
            case ("GET", ["persons", person]):
                return told(seen, shown(people[person]))
            case ("PATCH", ["persons", person]):
                people[person]["person"].update(seen.body)
                return told(seen, shown(people[person]))
            case ("DELETE", ["persons", person]):
                del people[person]
                return httpx.Response(204)
            case ("POST", ["persons", person, "faces"]):
                return told(seen, self._enrolled(people, seen.body, person, more=True), 201)
            case ("GET", ["persons", person, "faces"]):
                return told(seen, page([stored(face, person) for face in sorted(people[person]["vectors"])], seen))
            case ("GET", ["persons", person, "faces", face]):
                return told(seen, stored(face, person))
            case ("DELETE", ["persons", person, "faces", face]):
                del people[person]["vectors"][face]
                return httpx.Response(204)
            case ("GET", ["persons", person, "faces", _, "crop"]):
                return httpx.Response(200, headers={"Content-Type": "image/png"}, content=PNG)
        raise Refusal(404, "", "Not Found")

    def _images(self, seen: Seen) -> list[bytes]:
        images = [seen.body] if isinstance(seen.body, bytes) else [plain(one) for one in seen.body["images"]]
        if len(images) > self.too_many:
            raise Refusal(413, "request-too-large", f"The request has {len(images)} images")
        return images

    def _found(self, image: bytes, embedded: bool, seen: Seen) -> dict[str, Any]:
        if image == BROKEN:
            error = {"type": "urn:visage:image-undecodable", "title": "Image undecodable", "detail": "no image"}
            return {"status": "failed", "error": error, "faces": [], "took_ms": 0.1}
        face = {"box": [1.0, 2.0, 41.0, 52.5], "score": 0.9, "size": 40.0, "landmarks": [[1, 2.5]] * 5}
        face["quality"] = QUALITY | {"verdict": "good", "reasons": [], "causes": []}
        if embedded:
            form = None if isinstance(seen.body, bytes) else seen.body.get("vectors")
            face |= {"embedding": in_form(embedding(image), form or seen.query.get("vectors"), seen), "norm": 10.0}
        faces = [] if image == EMPTY else [face]
        return {"status": "ok", "width": 64, "height": 64, "faces": faces, "took_ms": 0.5}

    def _compared(self, body: Any) -> dict[str, Any]:
        vectors, chosen = [], {}
        for name in ("a", "b"):
            if "vector" in body[name]:
                vectors.append(vector(body[name]["vector"]))
                chosen[name] = {"kind": "vector"}
            elif (image := plain(body[name]["image"])) == EMPTY:
                raise Refusal(422, "no-face", f"No face in {name}", side=name)
            else:
                vectors.append(embedding(image))
                box = {"box": [1, 2, 3, 4], "landmarks": [[1, 2]] * 5, "score": 0.9}
                chosen[name] = {"kind": "image", "faces": 1, "index": 0, "why": "the only face", **box}
        similarity, threshold = cosine(*vectors), body.get("threshold", 0.363)
        answer = {"similarity": similarity, "same": similarity >= threshold, "threshold": threshold, **chosen}
        return answer | {
            "threshold_from": "request" if "threshold" in body else "catalogue",
            "models": MODELS,
            "took_ms": 2.0,
        }

    def _create(self, body: Any) -> dict[str, Any]:
        if body["name"] in self.collections:
            raise Refusal(409, "already-there", f"There is a collection {body['name']!r} already")
        about = {"description": "", "metadata": {}, "precision": "fp32", "index": "exact", **body}
        self.collections[body["name"]] = {"about": about, "people": {}}
        return self._collection(body["name"])

    def _collection(self, name: str) -> dict[str, Any]:
        held = self.collections[name]
        about = {key: held["about"][key] for key in ("precision", "index", "description", "metadata")}
        faces = sum(len(one["vectors"]) for one in held["people"].values())
        return {"name": name, "model": MODEL, "created": NOW, "persons": len(held["people"]), "faces": faces, **about}

    def _enrolled(self, people: dict[str, Any], body: Any, id_: str | None, *, more: bool = False) -> dict[str, Any]:
        self.made += 1
        id_ = id_ or f"p{self.made}"
        if not more and id_ in people:
            raise Refusal(409, "already-there", f"Person {id_!r} is there already")
        times = {"created": body.get("created", NOW), "updated": body.get("updated", NOW)}
        new = people.get(id_) or {"person": {"id": id_, "name": body.get("name") or "", **times}}
        new["person"].setdefault("metadata", body.get("metadata") or {})
        new.setdefault("vectors", {})
        images = [self._enrolled_image(new, plain(image)) for image in body.get("images", ())]
        if images and not body.get("vectors") and all(image["status"] != "enrolled" for image in images):
            raise Refusal(422, "nothing-enrolled", "Every picture was refused", images=images)
        for one in body.get("vectors", ()):
            self._keep(new, vector(one))
        people[id_] = new
        return {"person": shown(new), "images": images, "vectors": len(body.get("vectors", ()))}

    def _enrolled_image(self, person: dict[str, Any], image: bytes) -> dict[str, Any]:
        if image == BLURRED:
            cause = {"kind": "sharpness", "value": 3.0, "limit": 30.0}
            return {"status": "refused", "reasons": ["sharpness 3 is below 30"], "causes": [cause]}
        face = self._keep(person, embedding(image))
        return {"status": "enrolled", "reasons": [], "causes": [], "face": stored(face, person["person"]["id"])}

    def _keep(self, person: dict[str, Any], numbers: list[float]) -> str:
        self.made += 1
        person["vectors"][f"f{self.made}"] = numbers
        return f"f{self.made}"

    def _search(self, seen: Seen, people: dict[str, Any]) -> dict[str, Any]:
        bare = isinstance(seen.body, bytes)
        body = dict(seen.query) if bare else seen.body
        threshold = float(body.get("threshold", 0.363))
        probes = []
        images = self._images(seen) if bare or "images" in body else []
        for i, image in enumerate(images):
            (face,) = self._found(image, False, seen)["faces"]
            probes.append({"image": i, "face": face, "vector": None, "status": "ok", "of": embedding(image)})
        for i, one in enumerate(() if bare else body.get("vectors", ())):
            probes.append({"image": None, "face": None, "vector": i, "status": "ok", "of": vector(one)})
        for probe in probes:
            matches = self._matches(people, probe.pop("of"), threshold, int(body.get("top", 5)))
            probe |= {"matches": matches, "verdict": "known" if matches else "unknown"}
        said = {"threshold": threshold, "threshold_from": "catalogue", "models": MODELS, "took_ms": 1.0}
        return {"probes": probes, **said}

    def _matches(self, people: dict[str, Any], probe: list[float], threshold: float, top: int) -> list[Any]:
        found = []
        for id_, one in people.items():
            near = max((cosine(probe, numbers), face) for face, numbers in one["vectors"].items())
            if near[0] >= threshold:
                found.append({"person": shown(one), "face": stored(near[1], id_), "similarity": near[0]})
        return sorted(found, key=lambda match: -match["similarity"])[:top]

    def _bulk(self, seen: Seen, people: dict[str, Any]) -> httpx.Response:
        lines: list[dict[str, Any]] = []
        for i, row in enumerate(seen.body):
            if row.get("id") == "bad" or row.get("model", MODEL)["sha256"] != MODEL["sha256"]:
                error = {"type": "urn:visage:validation", "title": "Validation error", "detail": "bad"}
                lines.append({"row": i, "status": "failed", "person": None, "faces": 0, "error": error})
                continue
            new = row["person"] | {"vectors": [row["vector"]]} if "person" in row else row
            done = self._enrolled(people, new, new.get("id"), more=True)
            lines.append({"row": i, "status": "enrolled", "person": done["person"]["id"], "faces": done["vectors"]})
        failed = sum(line["status"] == "failed" for line in lines)
        faces = sum(line["faces"] for line in lines)
        persons = len({line["person"] for line in lines if line["status"] != "failed"})
        lines.append({"done": True, "persons": persons, "faces": faces, "failed": failed})
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        return httpx.Response(200, headers={"Content-Type": "application/x-ndjson"}, content=content)

    def _exported(self, person: dict[str, Any], face: str, form: str) -> dict[str, Any]:
        row = {"person": shown(person), "face": stored(face, person["person"]["id"]), "model": MODEL}
        numbers = person["vectors"][face]
        if form == "false":
            return row
        return row | {"vector": base64.b64encode(packed(numbers)).decode() if form == "base64" else numbers}

    def _extracted(self, seen: Seen) -> Any:
        body = {"images": {"data": [seen.body]}} if isinstance(seen.body, bytes) else seen.body
        images = [plain(one) for one in body["images"].get("data", ())]
        images += [url.encode() for url in body["images"].get("urls", ())]
        face = {"bbox": [1, 2, 41, 52], "prob": 0.9, "num_det": 0, "scale": 1.0, "norm": 10.0, "gender": None}
        face |= {
            "mask_probs": {"mask": 0.1, "no_mask": 0.9},
            "size": 40,
            "facedata": base64.b64encode(b"jpeg").decode(),
        }
        data = [
            {"status": "ok", "took_ms": 1.0, "faces": [face | {"vec": embedding(image)}]}
            if image != BROKEN
            else {"status": "failed", "took_ms": 1.0, "faces": [], "traceback": "Can't decode file"}
            for image in images
        ]
        return {"took": {"total_ms": 2.0}, "data": data, "models": MODELS}


def seen_of(request: httpx.Request) -> Seen:
    kind = request.headers.get("content-type", "")
    content = request.read()
    body: Any = None
    if kind == "application/x-msgpack":
        unpacker = msgpack.Unpacker(raw=False)
        unpacker.feed(content)
        body = list(unpacker)
    elif kind == "application/msgpack":
        body = msgpack.unpackb(content, raw=False)
    elif kind == "application/json":
        body = json.loads(content)
    elif kind.startswith("image/"):
        body = content
    path = request.url.raw_path.decode().partition("?")[0]
    return Seen(request.method, path, dict(request.url.params), request.headers, body)


def told(seen: Seen, value: Any, status: int = 200) -> httpx.Response:
    headers = {"X-Request-Id": "r1"}
    if "msgpack" in seen.headers["accept"]:
        headers["Content-Type"] = "application/x-msgpack"
        return httpx.Response(status, headers=headers, content=msgpack.packb(value, use_single_float=False))
    return httpx.Response(
        status, headers=headers | {"Content-Type": "application/json"}, content=json.dumps(value).encode()
    )


def page(items: list[Any], seen: Seen) -> dict[str, Any]:
    start, limit = int(seen.query.get("cursor", 0)), int(seen.query["limit"])
    end = start + limit
    return {"items": items[start:end], "next": str(end) if end < len(items) else None}


def shown(person: dict[str, Any]) -> dict[str, Any]:
    return {**person["person"], "faces": len(person["vectors"])}


def stored(face: str, person: str) -> dict[str, Any]:
    return {"id": face, "person": person, "about": {"size": 40.0}, "created": NOW, "has_crop": True}


def plain(image: Any) -> bytes:
    """What an Image of a body is, for addresses the address itself."""
    if isinstance(image, dict):
        return str(image["url"]).encode()
    return base64.b64decode(image, validate=True) if isinstance(image, str) else bytes(image)


def embedding(image: bytes) -> list[float]:
    """Four numbers of length 1 that a picture's bytes decide, exact as float32."""
    sign = [1 if byte & 1 else -1 for byte in hashlib.sha256(image).digest()[:4]]
    return [0.5 * one for one in sign]


def vector(value: Any) -> list[float]:
    data = base64.b64decode(value, validate=True) if isinstance(value, str) else value
    return list(struct.unpack(f"<{len(data) // 4}f", data)) if isinstance(data, bytes) else data


def packed(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def in_form(numbers: list[float], form: str | None, seen: Seen) -> Any:
    if "msgpack" in seen.headers["accept"]:
        return packed(numbers)
    return base64.b64encode(packed(numbers)).decode() if form == "base64" else numbers


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


Handler = Callable[[httpx.Request], httpx.Response]
