"""pymilvus: how a client is made and ended, and what it raises. All that knows the package is here."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visage.errors import ConfigurationError, StoreUnavailable
from visage.search.milvus.schema import Table

_lock = threading.Lock()
# Files of Milvus Lite → how many stores of this process have them open: they share its one server.
_files: dict[Path, int] = {}


@dataclass(frozen=True, slots=True)
class Driver:
    """`connect` takes the seconds that it may take; what it returns has the methods of pymilvus.MilvusClient, and
    `moment` asks it for the time. `made` is what a collection is made of: `schema` and `index_params`.
    """

    connect: Callable[[float], Any]
    close: Callable[[Any], None]
    moment: Callable[[Any, float], int]
    made: Callable[[Any, Table, str], Mapping[str, Any]]
    failures: tuple[type[Exception], ...]


def pymilvus_driver(uri: str, token: str, database: str) -> Driver:
    """Raises ImportError where pymilvus is not installed, and ConfigurationError for an address that it cannot read."""
    import grpc
    import pymilvus

    # It logs each failure with a traceback, also those that are tried again; what is left of them is raised.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    file = None if "://" in uri else _lite(uri)

    def connect(seconds: float) -> Any:
        if file is None:
            return pymilvus.MilvusClient(uri=uri, token=token, db_name=database, timeout=seconds)
        with _lock:
            try:
                client = pymilvus.MilvusClient(uri=str(file), timeout=seconds)
            except pymilvus.MilvusException as exc:
                raise StoreUnavailable(
                    f"{file.name} cannot be opened: another process has it, or it is not of Milvus Lite"
                ) from exc
            _files[file] = _files.get(file, 0) + 1
        return client

    def close(client: Any) -> None:
        client.close()
        if file is not None:
            _released(file)

    # Milvus Lite is one process, has no clock to ask, and whatever was written is seen.
    moment = _moment if file is None else lambda client, seconds: 0
    return Driver(connect, close, moment, _made, (pymilvus.MilvusException, grpc.RpcError))


def _lite(uri: str) -> Path:
    import milvus_lite  # noqa: F401  (said now, and not as a failed connection)

    path = Path(uri).absolute()
    if path.suffix != ".db":
        raise ConfigurationError(f"milvus:{uri}: a file of Milvus Lite is called *.db, a server http://HOST:PORT")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreUnavailable(f"the folder of the store cannot be made: {exc.strerror}") from exc
    return path


def _released(file: Path) -> None:
    from milvus_lite import server_manager_instance

    with _lock:
        _files[file] -= 1
        if _files[file] == 0:
            del _files[file]
            server_manager_instance.release_server(str(file))


def _moment(client: Any, seconds: float) -> int:
    # MilvusClient does not offer it. Servers that do not know it answer 0, which reads take for "now".
    return int(client._get_connection().alloc_timestamp(timeout=seconds, context=None))


def _made(client: Any, table: Table, description: str) -> Mapping[str, Any]:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    for number, field in enumerate(table.fields):
        size = {} if field.size is None else {"dim" if field.kind == "FLOAT_VECTOR" else "max_length": field.size}
        schema.add_field(field.name, getattr(DataType, field.kind), is_primary=number == 0, **size)
    index = client.prepare_index_params()
    index.add_index(
        table.fields[-1].name, index_type=table.indexed.kind, metric_type="IP", params=dict(table.indexed.parameters)
    )
    return {"schema": schema, "index_params": index}
