"""A Milvus in a dictionary: as much of pymilvus' client as the store uses. Expressions are read by Python, whose grammar
is near enough to theirs; so what the store asks for is computed, and nothing else is.
"""

import copy
import operator
import threading
from collections.abc import Callable, Mapping
from typing import Any

from visage.search.milvus.driver import Driver
from visage.search.milvus.schema import Table


class Refused(Exception):
    """As pymilvus.MilvusException: a number and a text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class _Value:
    """Something of a JSON field. What cannot be compared, or is not there, is not equal, greater or less."""

    __hash__ = None  # type: ignore[assignment]  # compared, never kept

    def __init__(self, value: Any) -> None:
        self.value = value

    def _compared(self, compare: Callable[[Any, Any], bool], other: object) -> bool:
        try:
            return bool(compare(self.value, other))
        except TypeError:
            return False

    def __eq__(self, other: object) -> bool:
        return self._compared(operator.eq, other)

    def __lt__(self, other: object) -> bool:
        return self._compared(operator.lt, other)

    def __le__(self, other: object) -> bool:
        return self._compared(operator.le, other)

    def __gt__(self, other: object) -> bool:
        return self._compared(operator.gt, other)

    def __ge__(self, other: object) -> bool:
        return self._compared(operator.ge, other)


class _Json:
    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value

    def __getitem__(self, key: str) -> _Value:
        return _Value(self._value.get(key, NotImplemented))


def holds(expression: str, row: Mapping[str, Any]) -> bool:
    if not expression:
        return True
    names = {name: _Json(value) if isinstance(value, dict) else value for name, value in row.items()}
    names["json_contains"] = lambda found, value: isinstance(found.value, list) and value in found.value
    return bool(eval(expression, {"__builtins__": {}}, names))


class FakeMilvus:
    """All clients of it see the same. `trouble` is called before each call, with its name, and may raise or wait."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}
        self.made: dict[str, tuple[Table, str]] = {}
        self.calls: list[str] = []
        self.clients = 0
        self.trouble: Callable[[str], None] = lambda name: None
        self.lock = threading.RLock()

    def driver(self) -> Driver:
        def connect(seconds: float) -> "Client":
            self.trouble("connect")
            self.clients += 1
            return Client(self)

        def close(client: Any) -> None:
            self.clients -= 1

        def moment(client: "Client", seconds: float) -> int:
            client.told("moment")
            return 1

        return Driver(connect, close, moment, lambda client, table, said: {"made": table, "said": said}, (Refused,))


class Client:
    def __init__(self, server: FakeMilvus) -> None:
        self._server = server

    def told(self, name: str) -> None:
        self._server.calls.append(name)
        self._server.trouble(name)

    def _rows(self, table: str) -> dict[str, dict[str, Any]]:
        if table not in self._server.tables:
            raise Refused(100, f"can't find collection {table}")
        return self._server.tables[table]

    def list_collections(self, *, timeout: float) -> list[str]:
        self.told("list_collections")
        return list(self._server.tables)

    def has_collection(self, table: str, *, timeout: float) -> bool:
        self.told("has_collection")
        return table in self._server.tables

    def describe_collection(self, table: str, *, timeout: float) -> dict[str, Any]:
        self.told("describe_collection")
        self._rows(table)
        return {"description": self._server.made[table][1]}

    def create_collection(
        self, table: str, *, made: Table, said: str, num_shards: int, consistency_level: str, timeout: float
    ) -> None:
        self.told("create_collection")
        assert (num_shards, consistency_level) == (1, "Strong")
        with self._server.lock:
            if table in self._server.tables and self._server.made[table] != (made, said):
                raise Refused(65535, f"create duplicate collection with different parameters, collection: {table}")
            self._server.tables.setdefault(table, {})
            self._server.made[table] = (made, said)

    def drop_collection(self, table: str, *, timeout: float) -> None:
        self.told("drop_collection")
        self._server.tables.pop(table, None)

    def upsert(self, table: str, rows: list[dict[str, Any]], *, timeout: float) -> None:
        self.told("upsert " + next(kind for kind in ("persons", "vectors", "pictures") if f"_{kind}" in table))
        with self._server.lock:
            names = [field.name for field in self._server.made[table][0].fields] if table in self._server.made else []
            there = self._rows(table)
            assert len({row["id"] for row in rows}) == len(rows)
            for row in rows:
                assert sorted(row) == sorted(names)
                there[row["id"]] = copy.deepcopy(row)

    def delete(self, table: str, *, timeout: float, ids: list[str] | None = None, filter: str = "") -> None:
        self.told("delete")
        with self._server.lock:
            there = self._rows(table)
            for one in ids if ids is not None else [one for one, row in there.items() if holds(filter, row)]:
                there.pop(one, None)

    def query(
        self,
        table: str,
        *,
        filter: str,
        output_fields: list[str],
        consistency_level: str,
        guarantee_timestamp: int,
        timeout: float,
        limit: int | None = None,
        iterator: str | None = None,
    ) -> list[dict[str, Any]]:
        self.told("query")
        assert (consistency_level, guarantee_timestamp) == ("Customized", 1)
        with self._server.lock:
            found = sorted((row for row in self._rows(table).values() if holds(filter, row)), key=lambda row: row["id"])
        if output_fields == ["count(*)"]:
            return [{"count(*)": len(found)}]
        assert limit is not None and 1 <= limit <= 16_384 and iterator == "True"
        return [{name: copy.deepcopy(row[name]) for name in output_fields} for row in found[:limit]]

    def search(
        self,
        table: str,
        *,
        data: list[Any],
        anns_field: str,
        filter: str,
        output_fields: list[str],
        search_params: Mapping[str, Any],
        limit: int,
        consistency_level: str,
        guarantee_timestamp: int,
        timeout: float,
    ) -> list[list[dict[str, Any]]]:
        self.told("search")
        assert search_params["metric_type"] == "IP" and 1 <= limit <= 16_384 and anns_field == "vector"
        with self._server.lock:
            rows = [row for row in self._rows(table).values() if holds(filter, row)]
        answers = []
        for probe in data:
            scored = sorted(((float(row["vector"] @ probe), row) for row in rows), key=lambda pair: -pair[0])
            answers.append(
                [
                    {"id": row["id"], "distance": score, "entity": {name: row[name] for name in output_fields}}
                    for score, row in scored[:limit]
                ]
            )
        return answers

    def load_collection(self, table: str, *, timeout: float) -> None:
        self.told("load_collection")

    def flush(self, table: str, *, timeout: float) -> None:
        self.told("flush")

    def compact(self, table: str, *, timeout: float) -> None:
        self.told("compact")
