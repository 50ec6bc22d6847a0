"""Everything that an operator sets: read from the environment here and nowhere else.

The names of every version of InsightFace-REST are read, in both spellings where there are two. `Settings.load`
returns what is to be said about them; `docs/operating.md` is generated from this class.
"""

import json
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from visage import __version__
from visage.errors import ConfigurationError

# Known to earlier services, without a meaning here.
IGNORED = {
    "KEEP_ALL": "all faces are kept unless a request limits them",
    "DEVICE": "the backend decides; see INFERENCE_BACKEND",
    "FACE_MODEL_CLASS": "the pipeline is not exchangeable; add a family instead",
    "USE_NVJPEG": "pictures are decoded on the CPU",
}

# A part of a path: what would begin a query, or be no part at all, is none.
_PART = re.compile(r"(?!\.{1,2}$)[^\s?#%\\]+")

# Detectors take multiples of this.
_LEAST_SIDE = 32

# Values that may be secrets: no message repeats them.
_SECRET = frozenset({"DEF_IMG_REQ_HEADERS", "MILVUS_TOKEN"})


def _none(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "null") else value


def _pair(value: Any) -> Any:
    """The text 640,480 as a pair."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.lower().replace("x", ",").split(",")]
    if len(parts) != 2 or not all(part.isdecimal() and int(part) >= _LEAST_SIDE for part in parts):
        raise ValueError(f"two whole numbers from {_LEAST_SIDE} on, width and height, separated by a comma: 640,640")
    return tuple(int(part) for part in parts)


def _sizes(value: Any) -> Any:
    """The text 128,320x240 as pairs; one number is a square."""
    if not isinstance(value, str):
        return value
    sides = [[part.strip() for part in size.split("x")] for size in value.lower().split(",")]
    if not all(
        len(size) <= 2 and all(part.isdecimal() and int(part) >= _LEAST_SIDE for part in size) for size in sides
    ):
        raise ValueError(f"whole numbers from {_LEAST_SIDE} on, or pairs WxH of them, separated by commas: 128,320x240")
    return [(int(size[0]), int(size[-1])) for size in sides]


def _words(value: Any) -> Any:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


def _flags(value: Any) -> Any:
    return list(dict.fromkeys(word.lower() for word in _words(value))) if isinstance(value, str) else value


def _names(value: Any) -> Any:
    return _words(_none(value) or [])


def _addresses(value: Any) -> Any:
    """host, host:port, [v6]:port or unix:path each, as gRPC takes them; 8001 is Triton's own port for it."""
    return [_address(word) for word in _names(value)]


def _address(word: str) -> str:
    if word.startswith("unix:"):
        return word
    if word.startswith(("http://", "https://")):
        raise ValueError(f"{word}: Triton is asked over gRPC; give host:port without http, 8001 as a rule")
    host, colon, port = word.removeprefix("grpc://").rpartition(":")
    if not colon or port.endswith("]"):
        host, port = word.removeprefix("grpc://"), "8001"
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or set("/ ") & set(host):
        raise ValueError(f"{word!r} is no host:port")
    return f"{host}:{port}"


def _milvus(value: Any) -> Any:
    uri = _none(value)
    if not isinstance(uri, str) or not uri.startswith(("http://", "https://")):
        return uri
    try:
        where = urlsplit(uri)
        port = where.port
    except ValueError as exc:
        raise ValueError(f"no address of a server, as http://HOST:19530: {exc}") from exc
    if not where.hostname or port == 0:
        raise ValueError("no address of a server: http://HOST:19530")
    return uri


def _prefix(value: Any) -> Any:
    """faces, /faces and /faces/ alike; one that is / is none."""
    if not isinstance(value, str):
        return value
    parts = [part for part in value.split("/") if part]
    if "://" in value or not all(_PART.fullmatch(part) and part.isprintable() for part in parts):
        raise ValueError("a path alone, as /faces or /ml/faces, without a host, a query or spaces")
    return "".join(f"/{part}" for part in parts)


def _headers(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ValueError('a JSON object of texts: {"User-Agent": "…"}')
    return found


_Prefix = Annotated[str, BeforeValidator(_prefix)]
_Name = Annotated[str | None, BeforeValidator(_none)]
_Threshold = Annotated[Annotated[float, Field(gt=-1, le=1, allow_inf_nan=False)] | None, BeforeValidator(_none)]
_Compat = Annotated[Literal["0.7", "0.9"] | None, BeforeValidator(_none)]
_File = Annotated[Path | None, BeforeValidator(_none)]
_Auth = Annotated[Literal["off", "keys"] | None, BeforeValidator(_none)]
_Switch = Annotated[bool | None, BeforeValidator(_none)]
_Pair = Annotated[tuple[int, int], BeforeValidator(_pair)]
_Sizes = Annotated[list[tuple[int, int]], BeforeValidator(_sizes)]
_Words = Annotated[list[str], BeforeValidator(_words)]
_Flags = Annotated[list[str], BeforeValidator(_flags)]
_Names = Annotated[list[str], BeforeValidator(_names)]
_Addresses = Annotated[list[str], BeforeValidator(_addresses)]
_Milvus = Annotated[str | None, BeforeValidator(_milvus)]
_Headers = Annotated[dict[str, str], BeforeValidator(_headers)]


def _setting(default: Any, about: str, *names: str, **limits: Any) -> Any:
    """A field read from the first of `names` that is set."""
    return Field(default, description=about, validation_alias=AliasChoices(*names), **limits)


class Settings(BaseModel):
    """The service's settings, each with its default; frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    # Where it listens
    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 for all of the machine's", "HOST")
    port: int = _setting(18080, "Port to listen on; 0 lets the system choose", "PORT", ge=0, le=65535)
    num_workers: int = _setting(
        1,
        "Processes. One fills all cores; more share the cores between them and load every network again",
        "NUM_WORKERS",
        ge=1,
        le=64,
    )
    root_path: _Prefix = _setting(
        "", "Path prefix under which a reverse proxy offers the service, as /faces", "ROOT_PATH"
    )
    forwarded_allow_ips: str = _setting(
        "127.0.0.1",
        "Proxies whose X-Forwarded-* headers are believed, separated by commas; * for all",
        "FORWARDED_ALLOW_IPS",
    )
    cors_origins: _Words = _setting([], "Origins that browsers may call from, separated by commas", "CORS_ORIGINS")
    allowed_hosts: _Words = _setting(
        [],
        "Names that the service may be asked by, besides localhost and addresses, separated by commas; * for any. "
        "Unset means any; without keys on loopback, any that does not have PORT behind it",
        "ALLOWED_HOSTS",
    )

    # Networks
    inference_backend: str = _setting(
        "auto",
        "What computes the networks: onnx, openvino, trt, triton (the servers of TRITON_URI), or auto: for each "
        "network the fastest of those installed here",
        "INFERENCE_BACKEND",
    )
    models_dir: Path = _setting(
        Path("models"), "Folder of the catalogue (models.json) and of the networks", "MODELS_DIR"
    )
    accept_licences: _Flags = _setting(
        [],
        "Licences of weights that you accept, by their ids in `visage models licences`, separated by commas",
        "ACCEPT_LICENCES",
    )
    offline: bool = _setting(False, "Download no network; what is not in MODELS_DIR then stops the start", "OFFLINE")
    det_name: str = _setting("yunet", "Detection network", "DET_NAME")
    rec_name: _Name = _setting("sface", "Recognition network; None loads none", "REC_NAME")
    models_loaded: _Names = _setting(
        [],
        "Further detection and recognition networks, separated by commas, which requests name as `det_name` and "
        "`rec_name`",
        "MODELS_LOADED",
    )
    models_idle_seconds: float = _setting(
        0.0,
        "Seconds without use after which a network is unloaded until a request needs it; 0 for never",
        "MODELS_IDLE_SECONDS",
        ge=0,
        allow_inf_nan=False,
    )
    ga_name: _Name = _setting(None, "Gender and age network, as genderage_v1; None loads none", "GA_NAME", "GA_MODEL")
    mask_detector: _Name = _setting(None, "Mask network, as mask_detector; None loads none", "MASK_DETECTOR")
    landmarks_name: _Name = _setting(
        None, "Network of 106 landmarks, of family landmarks106; None loads none", "LANDMARKS_NAME"
    )
    rec_ignore: bool = _setting(False, "Load no recognition network, whatever REC_NAME says", "REC_IGNORE")
    ga_ignore: bool = _setting(False, "Load no gender and age network, whatever GA_NAME says", "GA_IGNORE")
    max_size: _Pair = _setting((640, 640), "Width and height that pictures are fitted into for detection", "MAX_SIZE")
    det_extra_sizes: _Sizes = _setting(
        [],
        "Sizes that every picture is detected at besides MAX_SIZE, for large and close faces: 128, or 128,320x240",
        "DET_EXTRA_SIZES",
    )
    det_square: _Switch = _setting(
        None,
        "Pad pictures to all of MAX_SIZE for detection, as the reference does, not only to the next multiple of 32. "
        "Unset means False, but True with COMPAT_API",
        "DET_SQUARE",
    )
    det_batch_size: int = _setting(1, "Most pictures in one run of the detector", "DET_BATCH_SIZE", ge=1, le=256)
    rec_batch_size: int = _setting(4, "Most faces in one run of a network of crops", "REC_BATCH_SIZE", ge=1, le=256)
    force_fp16: bool = _setting(
        False,
        "Half precision on GPUs and other devices (trt, and onnx with ORT_PROVIDERS other than cpu); off means single "
        "precision everywhere",
        "FORCE_FP16",
    )
    ort_providers: _Flags = _setting(
        ["cpu"],
        "What ONNX Runtime computes on, best first, separated by commas: cuda, tensorrt, openvino, rocm, migraphx, "
        "coreml, directml, cpu. What is not there is an error; without cpu in the list so is what the others cannot "
        "compute",
        "ORT_PROVIDERS",
    )
    trt_workspace_mb: int = _setting(
        0,
        "Most MB of GPU memory for TensorRT's scratch while it builds and runs; 0 is its own limit",
        "TRT_WORKSPACE_MB",
        ge=0,
    )
    trt_cuda_graphs: bool = _setting(
        False, "Record what TensorRT does for a shape that comes again, and replay it", "TRT_CUDA_GRAPHS"
    )
    triton_uri: _Addresses = _setting(
        [],
        "gRPC addresses of the Triton servers that INFERENCE_BACKEND=triton asks in turn, host:port, separated by "
        "commas",
        "TRITON_URI",
    )
    triton_timeout: float = _setting(
        10.0, "Seconds for one answer of a Triton server", "TRITON_TIMEOUT", gt=0, le=600, allow_inf_nan=False
    )
    triton_streams: int = _setting(
        8,
        "Runs of a network asked of the Triton servers at once, which these may join; so many pictures more are worked "
        "on at once",
        "TRITON_STREAMS",
        ge=1,
        le=256,
    )
    triton_shared_memory: Literal["auto", "off"] = _setting(
        "auto",
        "auto: a Triton server asked over loopback or a unix socket reads pixels from shared memory, where it can",
        "TRITON_SHARED_MEMORY",
    )
    inference_threads: int = _setting(
        0,
        "Cores for one run of a network; 0 shares the machine's between NUM_WORKERS",
        "INFERENCE_THREADS",
        ge=0,
        le=256,
    )
    image_workers: int = _setting(
        0,
        "Pictures decoded and processed at once; 0 is one more than the cores of one process",
        "IMAGE_WORKERS",
        ge=0,
        le=256,
    )

    # What a request means where it does not say
    def_det_thresh: float = _setting(
        0.6, "Least score of a face", "DEF_DET_THRESH", "DET_THRESH", gt=0, le=1, allow_inf_nan=False
    )
    def_return_face_data: bool = _setting(False, "Return aligned crops", "DEF_RETURN_FACE_DATA")
    def_return_landmarks: bool = _setting(False, "Return five landmarks a face", "DEF_RETURN_LANDMARKS")
    def_extract_embedding: bool = _setting(True, "Return embeddings", "DEF_EXTRACT_EMBEDDING")
    def_extract_ga: bool = _setting(False, "Return gender and age", "DEF_EXTRACT_GA")
    def_detect_masks: bool = _setting(False, "Return mask scores", "DEF_DETECT_MASKS")
    def_return_landmarks_106: bool = _setting(
        False, "Return 106 landmarks a face, where LANDMARKS_NAME names a network", "DEF_RETURN_LANDMARKS_106"
    )
    def_api_ver: _Name = _setting(None, "Form of the answer: 1, 2, or None for that of version 0.9.5", "DEF_API_VER")
    def_img_req_headers: _Headers = _setting(
        {"User-Agent": f"visage/{__version__}"},
        "Headers sent when a picture is fetched, a JSON object",
        "DEF_IMG_REQ_HEADERS",
    )
    compat_api: _Compat = _setting(None, "Answer with exactly the keys of InsightFace-REST 0.7 or 0.9", "COMPAT_API")

    # Pictures
    root_images_dir: Path = _setting(
        Path("/images"), "The folder that local paths in `urls` are read from", "ROOT_IMAGES_DIR"
    )
    url_allow: _Words = _setting(
        [],
        "Hosts, addresses and CIDR blocks that pictures may be fetched from although they are not public",
        "URL_ALLOW",
    )
    url_timeout: float = _setting(
        10.0, "Seconds for fetching one picture, redirects included", "URL_TIMEOUT", gt=0, le=600
    )

    # Galleries
    data_dir: Path = _setting(
        Path("data"),
        "Folder of the galleries, and of what else the service remembers; made when it is first needed",
        "DATA_DIR",
    )
    search_memory_mb: int = _setting(
        512,
        "Most MB that a process holds of the collections it searched last, besides what it maps from DATA_DIR and "
        "large graphs (index hnsw); what was searched the longest ago is let go",
        "SEARCH_MEMORY_MB",
        ge=1,
    )
    milvus_uri: _Milvus = _setting(
        None,
        "Milvus that keeps the galleries, not DATA_DIR: http://HOST:19530, https://…, or a file of Milvus Lite, *.db",
        "MILVUS_URI",
    )
    milvus_token: str = _setting("", "Token of Milvus, as USER:PASSWORD", "MILVUS_TOKEN")
    milvus_db_name: str = _setting("", "Database of Milvus; unset means its default one", "MILVUS_DB_NAME")
    milvus_timeout: float = _setting(
        10.0,
        "Seconds that a call to Milvus may take, all attempts together, before 503",
        "MILVUS_TIMEOUT",
        gt=0,
        le=600,
    )
    same_threshold: _Threshold = _setting(
        None,
        "Cosine from which on two faces are one person's, where a request does not say; None: the catalogue's for the "
        "network",
        "SAME_THRESHOLD",
    )
    keep_crops: bool = _setting(
        False,
        "Keep the aligned crop of each picture that is enrolled, to be looked at and embedded again",
        "KEEP_CROPS",
    )

    # Who may do what
    auth: _Auth = _setting(
        None,
        "keys: every caller shows a key (`visage keys`). off: whoever reaches the port may do everything. Unset means "
        "off where HOST is loopback; with any other HOST the service does not start until it is set",
        "AUTH",
    )
    auth_keys_file: _File = _setting(
        None,
        "With AUTH=keys: a file of further keys, only read, as `visage keys export` writes them; read again when it "
        "changes",
        "AUTH_KEYS_FILE",
    )
    metrics_public: bool = _setting(False, "With AUTH=keys: /metrics asks for no key", "METRICS_PUBLIC")
    audit_log: str | None = _setting(
        None,
        "Where each write is told with its key: a file, or - for the service's log. Unset means - with AUTH=keys, else "
        "nowhere",
        "AUDIT_LOG",
    )

    # Limits
    max_requests: int = _setting(128, "Requests inside at once; further ones are answered 503", "MAX_REQUESTS", ge=1)
    request_timeout: float = _setting(
        60.0, "Seconds until a request is given up with 503", "REQUEST_TIMEOUT", gt=0, le=3600
    )
    max_body_bytes: int = _setting(128 * 2**20, "Bytes of one request", "MAX_BODY_BYTES", ge=1024)
    max_inflight_bytes: int = _setting(
        512 * 2**20,
        "Bytes of all requests inside together; past it, further ones are answered 503",
        "MAX_INFLIGHT_BYTES",
        ge=1024,
    )
    max_images: int = _setting(256, "Images of one request", "MAX_IMAGES", ge=1)
    max_image_bytes: int = _setting(32 * 2**20, "Bytes of one image", "MAX_IMAGE_BYTES", ge=1024)
    max_image_pixels: int = _setting(50_000_000, "Pixels of one image, read from its header", "MAX_IMAGE_PIXELS", ge=1)
    max_faces: int = _setting(1000, "Faces answered for one image, best scores first", "MAX_FACES", ge=1)
    max_detection_size: int = _setting(
        2048, "Largest width and height that a request's max_size may ask for", "MAX_DETECTION_SIZE", ge=32
    )

    # Logs, and what the service says of itself
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "INFO", "Least level that is logged", "LOG_LEVEL"
    )
    log_format: Literal["text", "json"] = _setting("text", "Form of the log's lines", "LOG_FORMAT")
    version: str = _setting(__version__, "The version that /info shows", "IFR_VERSION")
    tensorrt_version: _Name = _setting(None, "The TensorRT version that /info shows", "TENSORRT_VERSION", "TRT_VERSION")
    sslv3_hack: bool = _setting(False, "Refused when true: old TLS ciphers are not offered", "DEF_SSLV3_HACK")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> tuple["Settings", list[str]]:
        """The settings and what is to be said about the names they came by.

        Raises ConfigurationError: one line that names the variable, its value and what it takes.
        """
        source = os.environ if environ is None else environ
        environment = {name.upper(): value.strip() for name, value in source.items()}
        if environment.get("LOG_LEVEL"):
            environment["LOG_LEVEL"] = _level(environment["LOG_LEVEL"])
        given = {name: value for name, value in environment.items() if name in NAMES and value}
        try:
            settings = cls.model_validate(_by_field(given))
        except ValidationError as exc:
            raise ConfigurationError(_first_fault(exc, given)) from exc
        if settings.sslv3_hack:
            raise ConfigurationError(
                "DEF_SSLV3_HACK is not offered: it weakens TLS for every picture fetched. Unset it, and let "
                "the picture's server speak TLS 1.2 or fetch the pictures yourself and send their bytes"
            )
        if settings.inference_backend == "triton" and not settings.triton_uri:
            raise ConfigurationError(
                "INFERENCE_BACKEND=triton needs TRITON_URI: the servers' gRPC addresses, as TRITON_URI=localhost:8001"
            )
        return settings, _remarks(environment, settings)

    @property
    def squares(self) -> bool:
        """Whether pictures are padded to the whole size for detection; who asks for the reference's form gets its
        numbers too, unless DET_SQUARE says otherwise.
        """
        return self.compat_api is not None if self.det_square is None else self.det_square

    @property
    def on_cpu(self) -> bool:
        """Whether this process's cores may be what computes: half precision is no faster there."""
        local = self.inference_backend in ("auto", "onnx") and self.ort_providers == ["cpu"]
        return local or self.inference_backend == "openvino"

    @property
    def on_loopback(self) -> bool:
        return _is_loopback(self.host)

    @property
    def asks_for_keys(self) -> bool:
        return self.auth == "keys"

    @property
    def galleries_place(self) -> str:
        """Where galleries are, as `visage.search.places` reads it."""
        uri = self.milvus_uri
        if uri is None:
            return str(self.data_dir)
        return uri if uri.startswith(("http://", "https://", "milvus:")) else f"milvus:{uri}"

    def check_auth(self) -> None:
        """Raises ConfigurationError where other machines may come in and nobody has said who of them may do what."""
        if self.auth is None and not self.on_loopback:
            raise ConfigurationError(
                f"HOST={self.host} lets other machines in, and AUTH does not say who may do what. AUTH=keys asks every "
                "caller for a key (visage keys add NAME --scopes read,write makes one); AUTH=off lets whoever reaches "
                "the port do everything, which is for a network of your own or a proxy that asks them"
            )

    def defaults(self) -> dict[str, Any]:
        """What /info calls defaults; header values are not shown, they may be secrets."""
        return {
            "return_face_data": self.def_return_face_data,
            "return_landmarks": self.def_return_landmarks,
            "extract_embedding": self.def_extract_embedding,
            "extract_ga": self.def_extract_ga,
            "detect_masks": self.def_detect_masks,
            "det_thresh": self.def_det_thresh,
            "img_req_headers": dict.fromkeys(self.def_img_req_headers, "***"),
            "sslv3_hack": self.sslv3_hack,
        }


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _spellings(field: str) -> list[str]:
    alias = Settings.model_fields[field].validation_alias
    return [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [field.upper()]


SPELLINGS: dict[str, list[str]] = {field: _spellings(field) for field in Settings.model_fields}
NAMES: frozenset[str] = frozenset(name for names in SPELLINGS.values() for name in names)


def _by_field(given: Mapping[str, str]) -> dict[str, str]:
    """The value of each field: of its first spelling that is set, under that field's first name."""
    return {
        names[0]: next(given[name] for name in names if name in given)
        for names in SPELLINGS.values()
        if any(name in given for name in names)
    }


def _level(value: str) -> str:
    upper = value.upper()
    return {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR", "NOTSET": "DEBUG", "TRACE": "DEBUG"}.get(
        upper, upper
    )


def _first_fault(exc: ValidationError, given: Mapping[str, str]) -> str:
    fault = exc.errors(include_url=False)[0]
    first = str(fault["loc"][0]) if fault["loc"] else "?"
    names = next((names for names in SPELLINGS.values() if first in names), [first])
    name = next((n for n in names if n in given), first)
    reason = str(fault["msg"]).removeprefix("Value error, ")
    value = "***" if name in _SECRET else repr(given.get(name, ""))
    return f"{name}={value}: {reason}"


def _remarks(environment: Mapping[str, str], settings: Settings) -> list[str]:
    said = [f"{name} has no effect: {why}" for name, why in IGNORED.items() if environment.get(name)]
    for first, *others in SPELLINGS.values():
        for other in others:
            if environment.get(other):
                if environment.get(first):
                    said.append(f"{other} is not used: {first} is set as well")
                elif first != "TENSORRT_VERSION":
                    said.append(f"{other} is read as {first}, which is its name now")
    if settings.force_fp16 and settings.on_cpu:
        said.append("FORCE_FP16 concerns GPUs and other devices: what the CPU computes stays in single precision")
    if settings.triton_uri and settings.inference_backend != "triton":
        said.append(f"TRITON_URI has no effect: INFERENCE_BACKEND is {settings.inference_backend}")
    return said
