import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support import REPO, settings_of
from visage import __version__
from visage.api.encoding import parse
from visage.api.schemas import DrawBody, DrawFields, ExtractBody, ExtractFields
from visage.errors import ConfigurationError
from visage.settings import IGNORED, NAMES, SPELLINGS, Settings

# Every name of the wire contract, part 8.
REFERENCE = [
    "INFERENCE_BACKEND",
    "DET_NAME",
    "REC_NAME",
    "GA_NAME",
    "GA_MODEL",
    "MASK_DETECTOR",
    "REC_IGNORE",
    "GA_IGNORE",
    "MAX_SIZE",
    "REC_BATCH_SIZE",
    "DET_BATCH_SIZE",
    "FORCE_FP16",
    "TRITON_URI",
    "DEVICE",
    "DET_THRESH",
    "DEF_DET_THRESH",
    "DEF_RETURN_FACE_DATA",
    "DEF_RETURN_LANDMARKS",
    "DEF_EXTRACT_EMBEDDING",
    "DEF_EXTRACT_GA",
    "DEF_DETECT_MASKS",
    "DEF_API_VER",
    "DEF_IMG_REQ_HEADERS",
    "DEF_SSLV3_HACK",
    "ROOT_IMAGES_DIR",
    "MODELS_DIR",
    "LOG_LEVEL",
    "PORT",
    "NUM_WORKERS",
    "USE_NVJPEG",
    "FACE_MODEL_CLASS",
    "IFR_VERSION",
    "COMPOSE_PROJECT_NAME",
    "TRT_VERSION",
    "TENSORRT_VERSION",
    "KEEP_ALL",
    "PYTHONUNBUFFERED",
]

# Read by others than visage: Python, Docker, make, prometheus-client, NVIDIA's container runtime, pip, apt.
OF_OTHERS = {
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "COMPOSE_PROJECT_NAME",
    "PROMETHEUS_MULTIPROC_DIR",
    "PYTEST_ARGS",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "CUDA_VISIBLE_DEVICES",
    "PIP_NO_CACHE_DIR",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "DEBIAN_FRONTEND",
    "PATH",
    "NUMBA_CACHE_DIR",
    "CUPY_CACHE_DIR",
    # Arguments of the images' builds
    "PYTHON_IMAGE",
    "TENSORRT_IMAGE",
    "EXTRAS",
    "CUPY",
    "VERSION",
    "REVISION",
    "COMPARE_ARGS",
}


def refused(**environ: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        Settings.load(environ)
    return str(error.value)


def remarks(**environ: str) -> list[str]:
    return Settings.load(environ)[1]


# names


def test_nothing_set_means_the_defaults_and_nothing_to_say() -> None:
    settings, said = Settings.load({})
    assert said == []
    assert (settings.host, settings.port, settings.num_workers) == ("127.0.0.1", 18080, 1)
    assert (settings.det_name, settings.rec_name, settings.ga_name, settings.mask_detector) == (
        "yunet",
        "sface",
        None,
        None,
    )
    assert (settings.max_size, settings.det_batch_size, settings.def_det_thresh) == ((640, 640), 1, 0.6)
    assert settings.def_extract_embedding
    assert not any((settings.def_extract_ga, settings.def_detect_masks, settings.def_return_landmarks))
    assert settings.version == __version__


def test_an_empty_value_is_an_unset_one() -> None:
    assert Settings.load({"PORT": "", "DET_NAME": "  ", "MAX_SIZE": "", "KEEP_ALL": ""}) == Settings.load({})


def test_strangers_variables_are_nobodys_business() -> None:
    assert Settings.load({"PATH": "/bin", "HOME": "/root", "LANG": "C"}) == Settings.load({})


def test_blanks_and_line_ends_around_a_value_do_not_matter() -> None:
    settings = settings_of(DET_NAME="yunet\r", FORCE_FP16=" True ", COMPAT_API="0.9\r", LOG_LEVEL=" debug ")
    assert (settings.det_name, settings.force_fp16, settings.compat_api) == ("yunet", True, "0.9")
    assert settings.log_level == "DEBUG"


def test_the_environment_of_the_process_is_read_where_no_other_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "4711")
    assert Settings.load()[0].port == 4711


@pytest.mark.parametrize(
    ("value", "names"),
    [("", []), ("None", []), ("null", []), ("a", ["a"]), (" a, b ,,c,", ["a", "b", "c"]), ("a,a", ["a", "a"])],
)
def test_further_networks_are_a_list_of_names(value: str, names: list[str]) -> None:
    assert settings_of(MODELS_LOADED=value).models_loaded == names


def test_networks_stay_loaded_unless_a_time_is_set() -> None:
    assert Settings().models_idle_seconds == 0
    assert settings_of(MODELS_IDLE_SECONDS="0.5").models_idle_seconds == 0.5
    for value in ("-1", "inf", "nan", "soon"):
        assert refused(MODELS_IDLE_SECONDS=value).startswith(f"MODELS_IDLE_SECONDS='{value}': Input should be ")


@pytest.mark.parametrize(
    ("old", "new", "value", "field", "expected"),
    [
        ("DET_THRESH", "DEF_DET_THRESH", "0.3", "def_det_thresh", 0.3),
        ("GA_MODEL", "GA_NAME", "genderage_v1", "ga_name", "genderage_v1"),
    ],
)
def test_both_spellings_are_read_and_the_old_one_is_said(
    old: str, new: str, value: str, field: str, expected: Any
) -> None:
    for name, said in ((new, []), (old, [f"{old} is read as {new}, which is its name now"])):
        settings, told = Settings.load({name: value})
        assert getattr(settings, field) == expected
        assert told == said


def test_of_two_spellings_the_present_name_wins_and_it_is_said() -> None:
    settings, said = Settings.load({"DET_THRESH": "0.3", "DEF_DET_THRESH": "0.5"})
    assert settings.def_det_thresh == 0.5
    assert said == ["DET_THRESH is not used: DEF_DET_THRESH is set as well"]


def test_the_tensorrt_version_of_the_base_image_needs_no_remark() -> None:
    settings, said = Settings.load({"TRT_VERSION": "8.6.1"})
    assert settings.tensorrt_version == "8.6.1"
    assert said == []


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_an_ignored_name_is_said_once_with_the_reason(name: str) -> None:
    settings, said = Settings.load({name: "True"})
    assert settings == Settings.load({})[0]
    assert said == [f"{name} has no effect: {IGNORED[name]}"]


def test_the_ignored_names_are_those_of_the_contract() -> None:
    assert set(IGNORED) == {"KEEP_ALL", "DEVICE", "FACE_MODEL_CLASS", "USE_NVJPEG"}
    assert len(remarks(**dict.fromkeys(IGNORED, "1"))) == len(IGNORED)


def test_what_means_nothing_to_the_backend_is_said() -> None:
    told = ["FORCE_FP16 concerns GPUs and other devices: what the CPU computes stays in single precision"]
    assert remarks(FORCE_FP16="True") == remarks(FORCE_FP16="1", INFERENCE_BACKEND="openvino") == told
    assert remarks(FORCE_FP16="1", INFERENCE_BACKEND="trt") == []
    assert remarks(FORCE_FP16="1", INFERENCE_BACKEND="onnx", ORT_PROVIDERS="cuda,cpu") == []
    assert remarks(TRITON_URI="localhost:8001") == ["TRITON_URI has no effect: INFERENCE_BACKEND is auto"]
    assert remarks(FORCE_FP16="False", TRITON_URI="None") == []
    assert remarks(INFERENCE_BACKEND="triton", TRITON_URI="localhost:8001") == []


def test_triton_needs_to_know_where_its_servers_are() -> None:
    with pytest.raises(ConfigurationError, match=r"^INFERENCE_BACKEND=triton needs TRITON_URI: .*localhost:8001$"):
        Settings.load({"INFERENCE_BACKEND": "triton"})


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("localhost:8001", ["localhost:8001"]),
        ("a:1, b:2", ["a:1", "b:2"]),
        ("triton", ["triton:8001"]),
        ("grpc://triton:9001", ["triton:9001"]),
        ("[::1]", ["[::1]:8001"]),
        ("[2001:db8::1]:9", ["[2001:db8::1]:9"]),
        ("unix:/run/triton.sock", ["unix:/run/triton.sock"]),
    ],
)
def test_addresses_of_triton_servers_are_read(given: str, read: list[str]) -> None:
    assert Settings.load({"TRITON_URI": given})[0].triton_uri == read


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://triton:8000", "over gRPC"),
        ("triton:0", "no host:port"),
        ("triton:x", "no host:port"),
        (":8001", "no host"),
    ],
)
def test_what_is_no_address_of_a_triton_server_is_refused(given: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^TRITON_URI='{re.escape(given)}': .*{said}"):
        Settings.load({"TRITON_URI": given})


# values


@pytest.mark.parametrize("name", ["REC_NAME", "GA_NAME", "MASK_DETECTOR", "DEF_API_VER", "COMPAT_API"])
@pytest.mark.parametrize("text", ["None", "none", "NONE", "null", " None "])
def test_none_is_written_as_earlier_services_wrote_it(name: str, text: str) -> None:
    (field,) = (field for field, names in SPELLINGS.items() if name in names)
    assert getattr(settings_of(**{name: text}), field) is None


@pytest.mark.parametrize(
    ("environ", "squares"),
    [
        ({}, False),
        ({"DET_SQUARE": "1"}, True),
        ({"DET_SQUARE": "False"}, False),
        ({"DET_SQUARE": "None"}, False),
        ({"COMPAT_API": "0.7"}, True),
        ({"COMPAT_API": "0.9"}, True),
        ({"COMPAT_API": "0.9", "DET_SQUARE": "none"}, True),
        ({"COMPAT_API": "0.9", "DET_SQUARE": "0"}, False),
        ({"COMPAT_API": "None", "DET_SQUARE": "true"}, True),
    ],
)
def test_who_asks_for_the_references_form_gets_its_squares_unless_told_otherwise(
    environ: dict[str, str], squares: bool
) -> None:
    assert settings_of(**environ).squares is squares


def test_a_switch_takes_yes_or_no() -> None:
    assert refused(DET_SQUARE="640").startswith("DET_SQUARE='640': ")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("640,480", (640, 480)),
        (" 640 , 480 ", (640, 480)),
        ("1280x736", (1280, 736)),
        ("640X480", (640, 480)),
        ("32,32", (32, 32)),
    ],
)
def test_a_size_is_width_and_height(text: str, size: tuple[int, int]) -> None:
    assert settings_of(MAX_SIZE=text).max_size == size


@pytest.mark.parametrize(
    "text", ["640", "640,", "640,480,3", "640;480", "[640,480]", "-640,480", "0,0", "640,31", "²,³", "6.4e2,480", "a,b"]
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    line = refused(MAX_SIZE=text)
    assert line.startswith(f"MAX_SIZE={text!r}: ")
    assert line.endswith("two whole numbers from 32 on, width and height, separated by a comma: 640,640")


TRUE = ["y", "yes", "t", "true", "on", "1", "True", "TRUE", "Yes", "ON"]
FALSE = ["n", "no", "f", "false", "off", "0", "False", "FALSE", "No", "OFF"]


@pytest.mark.parametrize(("text", "value"), [(text, True) for text in TRUE] + [(text, False) for text in FALSE])
def test_truth_is_written_in_all_the_ways_of_strtobool(text: str, value: bool) -> None:
    assert settings_of(DEF_EXTRACT_GA=text).def_extract_ga is value
    assert settings_of(DEF_EXTRACT_EMBEDDING=text).def_extract_embedding is value


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("", []),
        ("128", [(128, 128)]),
        ("128,320", [(128, 128), (320, 320)]),
        (" 128 , 320X240,32x64 ", [(128, 128), (320, 240), (32, 64)]),
    ],
)
def test_extra_sizes_are_squares_or_pairs(text: str, sizes: list[tuple[int, int]]) -> None:
    assert settings_of(DET_EXTRA_SIZES=text).det_extra_sizes == sizes


@pytest.mark.parametrize(
    "text", ["31", "128,", ",", "128x", "x128", "128x96x3", "a", "-128", "128.5", "128 320", "32x31"]
)
def test_an_extra_size_that_is_none_is_refused_by_name(text: str) -> None:
    line = refused(DET_EXTRA_SIZES=text)
    assert line.startswith(f"DET_EXTRA_SIZES={text!r}: whole numbers from 32 on") and "128,320x240" in line


def test_networks_and_answers_of_106_landmarks_are_off_unless_set() -> None:
    assert (settings_of().landmarks_name, settings_of().def_return_landmarks_106) == (None, False)
    assert settings_of(LANDMARKS_NAME="None").landmarks_name is None
    assert settings_of(LANDMARKS_NAME="2d106det", DEF_RETURN_LANDMARKS_106="True").landmarks_name == "2d106det"


def test_lists_are_separated_by_commas() -> None:
    assert settings_of(URL_ALLOW=" 10.0.0.0/8 , pictures.lan,,").url_allow == ["10.0.0.0/8", "pictures.lan"]


def test_request_headers_are_a_json_object_of_texts() -> None:
    assert settings_of(DEF_IMG_REQ_HEADERS='{"User-Agent": "me"}').def_img_req_headers == {"User-Agent": "me"}


@pytest.mark.parametrize("text", ["{", "[]", '"text"', '{"Authorization": 1}', "Authorization: secret"])
def test_headers_that_are_none_are_refused_without_repeating_them(text: str) -> None:
    assert refused(DEF_IMG_REQ_HEADERS=text) == 'DEF_IMG_REQ_HEADERS=***: a JSON object of texts: {"User-Agent": "…"}'


@pytest.mark.parametrize(
    ("text", "level"),
    [("debug", "DEBUG"), ("Info", "INFO"), ("WARN", "WARNING"), ("critical", "ERROR"), ("NOTSET", "DEBUG")],
)
def test_every_level_that_python_knows_is_one_of_ours(text: str, level: str) -> None:
    assert settings_of(LOG_LEVEL=text).log_level == level


# errors


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("PORT", "abc", "valid integer"),
        ("PORT", "65536", "less than or equal to 65535"),
        ("PORT", "-1", "greater than or equal to 0"),
        ("NUM_WORKERS", "0", "greater than or equal to 1"),
        ("DET_BATCH_SIZE", "0", "greater than or equal to 1"),
        ("FORCE_FP16", "maybe", "valid boolean"),
        ("COMPAT_API", "0.8", "'0.7' or '0.9'"),
        ("LOG_LEVEL", "LOUD", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("LOG_FORMAT", "xml", "'text' or 'json'"),
        ("URL_TIMEOUT", "0", "greater than 0"),
        ("URL_TIMEOUT", "nan", ""),
        ("REQUEST_TIMEOUT", "inf", "less than or equal to 3600"),
        ("MAX_BODY_BYTES", "1k", "valid integer"),
        ("MILVUS_URI", "http://milvus:99999", "http://HOST:19530"),
        ("MILVUS_URI", "http://milvus:0", "http://HOST:19530"),
        ("MILVUS_URI", "http://milvus:port", "http://HOST:19530"),
        ("MILVUS_URI", "https://[::1", "http://HOST:19530"),
        ("MILVUS_URI", "http://:19530", "http://HOST:19530"),
    ],
)
def test_a_fault_is_one_line_that_names_variable_value_and_remedy(name: str, value: str, remedy: str) -> None:
    line = refused(**{name: value})
    assert line.startswith(f"{name}={value!r}: ")
    assert remedy in line
    assert "\n" not in line


def test_a_fault_names_the_spelling_that_was_used() -> None:
    assert refused(DET_THRESH="2").startswith("DET_THRESH='2': ")
    assert refused(DEF_DET_THRESH="2").startswith("DEF_DET_THRESH='2': ")


@pytest.mark.parametrize("text", ["True", "1", "yes"])
def test_old_tls_ciphers_are_refused_with_the_remedy(text: str) -> None:
    line = refused(DEF_SSLV3_HACK=text)
    assert line.startswith("DEF_SSLV3_HACK is not offered")
    assert "Unset it" in line


def test_old_tls_ciphers_may_be_declined() -> None:
    assert remarks(DEF_SSLV3_HACK="False") == []


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        settings_of().port = 1


def test_what_info_calls_defaults_shows_no_header_value() -> None:
    shown = settings_of(DEF_IMG_REQ_HEADERS='{"Authorization": "Bearer secret"}', DEF_DET_THRESH="0.4").defaults()
    assert shown["img_req_headers"] == {"Authorization": "***"}
    assert shown["det_thresh"] == 0.4
    assert "secret" not in str(shown)


def test_every_setting_says_what_it_is_and_has_names_of_its_own() -> None:
    names = [name for spelt in SPELLINGS.values() for name in spelt]
    assert len(names) == len(set(names)) == len(NAMES)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in names)
    assert all(field.description for field in Settings.model_fields.values())


# fault 12


@pytest.mark.parametrize("name", REFERENCE)
def test_fault_12_every_name_of_earlier_services_is_known(name: str) -> None:
    assert name in NAMES or name in IGNORED or name in {"PYTHONUNBUFFERED", "COMPOSE_PROJECT_NAME"}


def test_fault_12_the_list_above_is_that_of_the_wire_contract(spec: Path) -> None:
    part = (spec / "wire-contract.md").read_text("utf-8").split("### 8 Environment variables")[1]
    names = {
        name
        for row in re.findall(r"^\|(.*?)\|", part, re.MULTILINE)
        for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)
    }
    assert names and names <= set(REFERENCE)


VARIABLE = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*"
# Where a file hands a variable on: in Docker files, in compose and Helm files, on command lines, in scripts.
HANDED_ON = {
    "Dockerfile*": [rf"^(?:ENV|ARG)\s+({VARIABLE})[ =]", rf"^\s+({VARIABLE})=\S+\s*\\?$"],
    "*.sh": [rf"(?:-e|--env)[ =]\"?'?({VARIABLE})\b", rf"^\s*export\s+({VARIABLE})="],
    "*.y*ml": [rf"^\s*-?\s*\"?({VARIABLE})\"?\s*[:=]", rf"^\s*-?\s*name:\s*\"?({VARIABLE})\"?\s*$"],
    "*.env*": [rf"^#?\s*({VARIABLE})="],
    "*.md": [
        rf"(?:-e|--env)[ =]\"?'?({VARIABLE})\b",
        rf"^(?:[$] )?(?:{VARIABLE}=\S+ )*({VARIABLE})=\S+ +(?:\S+=\S+ +)*(?:make|visage|docker|\./|python)",
        r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`",
    ],
    "Makefile": [rf"^\s+@?(?:exec )?({VARIABLE})=\S+ "],
}


def shipped() -> Iterator[tuple[Path, list[str]]]:
    """Files for operators, with the patterns that find variables in them."""
    folders = [(REPO, "*"), (REPO / "misc", "**/*"), (REPO / "docs", "*")]
    for folder, pattern in folders:
        for file in sorted(folder.glob(pattern)):
            for name, patterns in HANDED_ON.items():
                if file.is_file() and file.match(name):
                    yield file, patterns


def test_fault_12_every_variable_that_shipped_files_set_or_document_is_read() -> None:
    unknown = {
        f"{file.relative_to(REPO)}: {name}"
        for file, patterns in shipped()
        for pattern in patterns
        for name in re.findall(pattern, file.read_text("utf-8"), re.MULTILINE)
        if name not in NAMES and name not in IGNORED and name not in OF_OTHERS
    }
    assert unknown == set()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Dockerfile_cpu", "ENV WRONG_NAME=1"),
        ("deploy.sh", "docker run -e WRONG_NAME=1 visage"),
        ("compose.yaml", "    environment:\n      - WRONG_NAME=1"),
        ("compose.yaml", "    environment:\n      WRONG_NAME: 1"),
        ("values.yml", "- name: WRONG_NAME\n  value: 1"),
        ("README.md", "set `WRONG_NAME=1` for it"),
        ("README.md", "WRONG_NAME=1 make serve"),
    ],
)
def test_fault_12_a_wrong_name_in_a_shipped_file_would_be_found(name: str, text: str) -> None:
    patterns = next(patterns for kind, patterns in HANDED_ON.items() if Path(name).match(kind))
    assert "WRONG_NAME" in [found for pattern in patterns for found in re.findall(pattern, text, re.MULTILINE)]


# fault 23


@pytest.mark.parametrize("text", ["0", "-1", "2", "1.0001", "nan", "NaN", "inf", "-inf"])
@pytest.mark.parametrize("name", ["DEF_DET_THRESH", "DET_THRESH"])
def test_fault_23_a_default_threshold_that_is_no_score_is_refused(name: str, text: str) -> None:
    assert refused(**{name: text}).startswith(f"{name}={text!r}: ")


@pytest.mark.parametrize("value", [0, -1, 2, 1.0001, float("nan"), float("inf"), "NaN", "high", [0.5]])
@pytest.mark.parametrize("model", [ExtractFields, DrawFields])
def test_fault_23_a_threshold_that_is_no_score_is_refused(model: type[ExtractFields], value: Any) -> None:
    with pytest.raises(ValidationError) as error:
        model.model_validate({"threshold": value})
    assert error.value.errors()[0]["loc"][0] == "threshold"


@pytest.mark.parametrize("value", [1, 1.0, 0.001, "0.5"])
@pytest.mark.parametrize("model", [ExtractFields, DrawFields])
def test_fault_23_a_score_is_a_threshold(model: type[ExtractFields], value: Any) -> None:
    assert model.model_validate({"threshold": value}).options(settings_of()).threshold == float(value)


@pytest.mark.parametrize("body", [b'{"images":{},"threshold":null}', b'{"images":{}}'])
@pytest.mark.parametrize("model", [ExtractBody, DrawBody])
def test_fault_23_a_threshold_of_null_or_none_given_is_the_services_own(model: type[ExtractBody], body: bytes) -> None:
    asked = model.model_validate(parse(body, "application/json"))
    assert asked.options(settings_of(DEF_DET_THRESH="0.35")).threshold == 0.35
    assert asked.options(settings_of()).threshold == 0.6


def test_fault_23_null_means_the_default_for_every_field_of_a_request() -> None:
    settings = settings_of(DEF_RETURN_LANDMARKS="True", DEF_RETURN_FACE_DATA="True", DEF_EXTRACT_GA="True")
    nothing = ExtractFields.model_validate({})
    nulls = ExtractFields.model_validate(dict.fromkeys(ExtractFields.model_fields))
    assert nothing.options(settings) == nulls.options(settings)
    assert nulls.options(settings).crops and nulls.options(settings).gender_age
    assert nulls.landmarks_or(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_on_this_machine_alone_nobody_need_say_who_may_do_what(host: str) -> None:
    settings = settings_of(HOST=host)
    settings.check_auth()
    assert not settings.asks_for_keys


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "faces.example.org", "127.0.0.1.example.org"])
def test_where_others_may_come_in_somebody_must(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"AUTH=keys .* AUTH=off"):
        settings_of(HOST=host).check_auth()
    settings_of(HOST=host, AUTH="off").check_auth()
    settings_of(HOST=host, AUTH="keys").check_auth()


def test_auth_is_one_of_two_words() -> None:
    with pytest.raises(ConfigurationError, match="AUTH='on'"):
        settings_of(AUTH="on")


@pytest.mark.parametrize(
    "uri", ["http://milvus", "http://milvus:19530", "https://user@milvus.example:443/db", "http://[::1]:19530", "g.db"]
)
def test_an_address_of_milvus_is_taken_as_it_is(uri: str) -> None:
    assert settings_of(MILVUS_URI=uri).milvus_uri == uri


@pytest.mark.parametrize(
    ("given", "prefix"), [("faces", "/faces"), ("/faces/", "/faces"), ("ml//faces", "/ml/faces"), ("/", ""), ("", "")]
)
def test_a_prefix_is_a_path_however_it_is_written(given: str, prefix: str) -> None:
    assert settings_of(ROOT_PATH=given).root_path == prefix


@pytest.mark.parametrize("given", ["http://x/faces", "/faces?x=1", "/a b", "../faces", "/faces#x"])
def test_a_prefix_that_is_none_stops_the_start(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ROOT_PATH=.*a path alone"):
        Settings.load({"ROOT_PATH": given})
