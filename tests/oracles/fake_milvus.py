"""A Milvus server in memory, as far as an index needs it: slow, plain, and able to fail.

It answers the calls of `pymilvus.MilvusClient` that `MilvusCollection` makes. An expression is
turned into Python and evaluated for each row. Hits at one distance come in the order of the ids'
hashes, as no order can be relied on.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

TEXT = r'"(?:[^"\\]|\\.)*"'
PATH = rf"fields(?:\[{TEXT}\])+"


class MilvusException(Exception):  # noqa: N818 - its name in pymilvus
    """As pymilvus's: what the server says."""

    __module__ = "pymilvus.exceptions"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Value:
    """What stands at a path of a JSON field; of another sort than asked for it is nothing."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getitem__(self, name: str) -> "Value":
        return Value(self.value.get(name) if isinstance(self.value, dict) else None)

    def compare(self, other: Any, test: Callable[[Any, Any], bool]) -> bool:
        sorts = [float if type(one) in (int, float) else type(one) for one in (self.value, other)]
        return sorts[0] == sorts[1] and test(self.value, other)

    def __eq__(self, other: object) -> bool:
        return self.compare(other, lambda left, right: bool(left == right))

    def __hash__(self) -> int:
        return hash(repr(self.value))

    def __lt__(self, other: Any) -> bool:
        return self.compare(other, lambda left, right: bool(left < right))

    def __le__(self, other: Any) -> bool:
        return self.compare(other, lambda left, right: bool(left <= right))

    def __gt__(self, other: Any) -> bool:
        return self.compare(other, lambda left, right: bool(left > right))

    def __ge__(self, other: Any) -> bool:
        return self.compare(other, lambda left, right: bool(left >= right))

    def begins(self, pattern: str) -> bool:
        return isinstance(self.value, str) and self.value.startswith(pattern[:-1])


def python_of(expression: str) -> str:
    """Return an expression of Milvus as one of Python."""
    texts: list[str] = []

    def kept(match: re.Match[str]) -> str:
        texts.append(match[0])
        return f'"{len(texts) - 1}"'

    text = re.sub(TEXT, kept, expression)
    text = re.sub(rf"exists ({PATH})", r"(\1.value is not None)", text)
    text = re.sub(rf"({PATH}) like ({TEXT})", r"\1.begins(\2)", text)
    text = re.sub(rf"({PATH}) in (\[)", r"\1 in \2", text)
    text = re.sub(r"\btrue\b", "True", re.sub(r"\bfalse\b", "False", text))
    return re.sub(r'"(\d+)"', lambda match: texts[int(match[1])], text)


def contains(held: Value, wanted: Any) -> bool:
    return isinstance(held.value, list) and any(Value(one) == wanted for one in held.value)


class FakeMilvus:
    """The server and its client in one.

    Attributes:
        calls: name and arguments of every call.
        failing: called before each answer with the call's name; may raise.
        after: called after each call that was carried out, may raise: the answer got lost.
    """

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failing: Callable[[str], None] = lambda name: None
        self.after: Callable[[str], None] = lambda name: None
        self.is_closed = False

    def called(self, name: str, arguments: Mapping[str, Any]) -> None:
        assert arguments["timeout"] > 0, "every call has a time limit"
        self.calls.append((name, dict(arguments)))
        self.failing(name)

    def has_collection(self, **arguments: Any) -> bool:
        self.called("has_collection", arguments)
        return arguments["collection_name"] in self.collections

    def create_schema(self, **arguments: Any) -> Any:
        fields: list[dict[str, Any]] = []

        def add_field(name: str, kind: Any, **parameters: Any) -> None:
            fields.append({"name": name, "type": kind, "params": parameters})

        return SimpleNamespace(fields=fields, add_field=add_field, **arguments)

    def create_collection(self, **arguments: Any) -> None:
        self.called("create_collection", arguments)
        self.collections[arguments["collection_name"]] = {
            "schema": arguments["schema"],
            "rows": {},
            "index": {},
        }

    def prepare_index_params(self) -> Any:
        made: dict[str, Any] = {}
        return SimpleNamespace(made=made, add_index=lambda field, **named: made.update(named))

    def create_index(self, **arguments: Any) -> None:
        self.called("create_index", arguments)
        self.collections[arguments["collection_name"]]["index"] = arguments["index_params"].made

    def load_collection(self, **arguments: Any) -> None:
        self.called("load_collection", arguments)

    def describe_collection(self, **arguments: Any) -> dict[str, Any]:
        self.called("describe_collection", arguments)
        schema = self.collections[arguments["collection_name"]]["schema"]
        return {"description": schema.description, "fields": schema.fields}

    def describe_index(self, **arguments: Any) -> dict[str, Any]:
        self.called("describe_index", arguments)
        index = self.collections[arguments["collection_name"]]["index"]
        return {"index_type": index["index_type"], **index["params"]}

    def drop_collection(self, **arguments: Any) -> None:
        self.called("drop_collection", arguments)
        del self.collections[arguments["collection_name"]]

    def flush(self, **arguments: Any) -> None:
        self.called("flush", arguments)

    def compact(self, **arguments: Any) -> None:
        self.called("compact", arguments)

    def close(self) -> None:
        self.is_closed = True

    def upsert(self, **arguments: Any) -> None:
        self.called("upsert", arguments)
        rows = self.collections[arguments["collection_name"]]["rows"]
        for row in arguments["data"]:
            rows[row["id"]] = {**row, "fields": json.loads(json.dumps(row["fields"]))}
        self.after("upsert")

    def delete(self, **arguments: Any) -> None:
        self.called("delete", arguments)
        assert re.match(r"id in \[", arguments["filter"])
        rows = self.collections[arguments["collection_name"]]["rows"]
        for row in self.passing(arguments):
            del rows[row["id"]]
        self.after("delete")

    def passing(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows = self.collections[arguments["collection_name"]]["rows"].values()
        if not arguments["filter"]:
            return list(rows)
        code = compile(python_of(arguments["filter"]), "expression", "eval")
        names = {"__builtins__": {}, "json_contains": contains}
        return [row for row in rows if eval(code, names, {**row, "fields": Value(row["fields"])})]

    def query(self, **arguments: Any) -> list[dict[str, Any]]:
        self.called("query", arguments)
        assert arguments["consistency_level"] in {"Strong", "Session", "Bounded", "Eventually"}
        found = sorted(self.passing(arguments), key=lambda row: hash(str(row["id"])))
        if arguments["output_fields"] == ["count(*)"]:
            return [{"count(*)": len(found)}]
        assert len(found) <= 16384
        return [
            {
                name: [row[name]] if name == "code" else row[name]
                for name in {"id", *arguments["output_fields"]}
            }
            for row in found
        ]

    def search(self, **arguments: Any) -> list[list[dict[str, Any]]]:
        self.called("search", arguments)
        assert arguments["limit"] <= 16384
        assert arguments["consistency_level"] in {"Strong", "Session", "Bounded", "Eventually"}
        parameters = arguments["search_params"]["params"]
        rows = sorted(self.passing(arguments), key=lambda row: hash(str(row["id"])))
        index = self.collections[arguments["collection_name"]]["index"]
        if "nprobe" in parameters:  # a row's cell is its number's rest
            rows = [
                row
                for row in rows
                if row["number"] % index["params"]["nlist"] < parameters["nprobe"]
            ]
        return [
            self.hits(query, rows, parameters.get("radius"), arguments)
            for query in arguments["data"]
        ]

    def hits(
        self,
        query: bytes,
        rows: Sequence[Mapping[str, Any]],
        radius: int | None,
        arguments: Mapping[str, Any],
    ) -> list[dict[str, Any]]:
        code = np.frombuffer(query, np.uint8)
        found = [
            (int(np.bitwise_count(np.frombuffer(row["code"], np.uint8) ^ code).sum()), row)
            for row in rows
        ]
        found = [one for one in found if radius is None or one[0] < radius]
        found.sort(key=lambda one: one[0])
        return [
            {
                "id": row["id"],
                "distance": float(distance),
                "entity": {name: row[name] for name in arguments["output_fields"]},
            }
            for distance, row in found[: arguments["limit"]]
        ]
