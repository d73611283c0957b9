"""One collection on a Milvus server: every call has a time limit, a consistency level and retries.

The server's client is `pymilvus`, an extra. It is only touched here: the index above speaks in
items and expressions. A row of the collection is an item::

    id         VARCHAR or INT64, primary key: the user's id
    number     INT64, the place in the order of insertion
    code       BINARY_VECTOR, the packed code; Milvus wants whole bytes, so padding bits are sent
    fields     JSON, what filters see of the metadata
    document   VARCHAR, the metadata as it was given where `fields` isn't the same, else ""
    partition  VARCHAR, partition key; only if the collection has one

The collection's description says in JSON which index it is part of.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from modalhash.errors import (
    ArtifactError,
    IndexServerError,
    NewerFormatError,
    SettingError,
)
from modalhash.extras import import_optional
from modalhash.index.milvus_settings import MilvusSettings

__all__ = ["MilvusCollection", "check_url", "reason_of"]

logger = logging.getLogger(__name__)

FORMAT: Final = 1
TOKEN_VARIABLE: Final = "MODALHASH_MILVUS_TOKEN"  # noqa: S105 - the name of a variable
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 5.0
REASON_LENGTH: Final = 300
LONGEST_TEXT: Final = 65535
"""Bytes of a text in Milvus: of an id, or of an item's metadata."""
T = TypeVar("T")
Row = dict[str, Any]


class MilvusCollection:
    """A collection, made when the first items come.

    Args:
        url: of the server, `http://host:19530`.
        name: of the collection.
        settings: time limits, consistency, how it is searched.
        client: what speaks to the server; by default one of pymilvus.

    Raises:
        IndexServerError: if nobody answers there.
        MissingExtraError: if pymilvus isn't installed.
        SettingError: if the url can't be one.
    """

    def __init__(
        self, url: str, name: str, settings: MilvusSettings, *, client: Any = None
    ) -> None:
        check_url(url)
        self.url, self.name, self.settings = url, name, settings
        self.client = connect(url, settings.timeout) if client is None else client

    def call(self, purpose: str, function: Callable[..., T], /, **named: Any) -> T:
        """Call the server again until it answers, the patience ends, or the error is final.

        Raises:
            IndexServerError: if it doesn't answer or refuses, saying what was tried.
        """
        deadline, pause = time.monotonic() + self.settings.patience, FIRST_PAUSE
        while True:
            try:
                return function(**named, timeout=self.settings.timeout)
            except Exception as error:
                if not is_of_server(error):
                    raise
                is_over = time.monotonic() + pause > deadline
                if is_over or not may_pass(error):
                    raise IndexServerError(
                        f"the Milvus server at {self.url} didn't {purpose}: {reason_of(error)}"
                        + ("; look whether it runs, then try again" if may_pass(error) else "")
                    ) from error
                logger.info("%s didn't %s, trying again: %s", self.url, purpose, reason_of(error))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    # --- making and finding -------------------------------------------------------------------

    def exists(self) -> bool:
        """Tell whether the server has the collection."""
        return bool(
            self.call(
                "look for a collection", self.client.has_collection, collection_name=self.name
            )
        )

    def create(self, description: Mapping[str, Any], *, is_text: bool, n_rows: int) -> None:
        """Make the collection with its index, and load it.

        Args:
            description: of the index, JSON values.
            is_text: whether ids are texts.
            n_rows: how many rows it will have, as far as is known.
        """
        milvus = import_optional("pymilvus", extra="milvus", feature="an index on Milvus")
        kinds = milvus.DataType
        schema = self.client.create_schema(
            auto_id=False,
            enable_dynamic_field=False,
            description=json.dumps(
                {"format": FORMAT, "modalhash": version("modalhash"), **description}
            ),
        )
        if is_text:
            schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=LONGEST_TEXT)
        else:
            schema.add_field("id", kinds.INT64, is_primary=True)
        schema.add_field("number", kinds.INT64)
        n_bytes = -(-int(description["n_bits"]) // 8)
        schema.add_field("code", kinds.BINARY_VECTOR, dim=8 * n_bytes)
        schema.add_field("fields", kinds.JSON)
        schema.add_field("document", kinds.VARCHAR, max_length=LONGEST_TEXT)
        options: dict[str, Any] = {"num_shards": self.settings.shards}
        if self.settings.partition_field:
            schema.add_field("partition", kinds.VARCHAR, max_length=4096, is_partition_key=True)
            options["num_partitions"] = self.settings.partitions
        self.call(
            "make a collection",
            self.client.create_collection,
            collection_name=self.name,
            schema=schema,
            consistency_level=self.settings.consistency,
            **options,
        )
        index = self.client.prepare_index_params()
        index.add_index("code", metric_type="HAMMING", **self.settings.index_of(n_rows))
        self.call(
            "index a collection",
            self.client.create_index,
            collection_name=self.name,
            index_params=index,
        )
        self.load()

    def load(self) -> None:
        """Ask the server to hold the collection ready for searches."""
        self.call("load a collection", self.client.load_collection, collection_name=self.name)

    def describe(self) -> tuple[dict[str, Any], bool]:
        """Ask what the collection says of its index, and whether ids are texts.

        Raises:
            ArtifactError: if it isn't a collection of ours.
            NewerFormatError: if a newer modalhash made it.
        """
        answer = self.call(
            "describe a collection", self.client.describe_collection, collection_name=self.name
        )
        where = f"the collection {self.name} at {self.url}"
        try:
            description = json.loads(answer.get("description") or "{}")
        except ValueError:
            description = {}
        if not isinstance(description, dict) or not isinstance(description.get("format"), int):
            raise ArtifactError(
                f"{where} isn't one that modalhash made: its description doesn't say so"
            )
        if description["format"] > FORMAT:
            raise NewerFormatError(
                f"{where} has format {description['format']} (written by modalhash "
                f"{description.get('modalhash', 'a newer version')}); this version reads formats "
                f"up to {FORMAT}: upgrade modalhash"
            )
        types = {field["name"]: field for field in answer["fields"]}
        missing = {"id", "number", "code", "fields", "document"} - types.keys()
        width = types.get("code", {}).get("params", {}).get("dim")
        if missing or int(width or 0) != 8 * -(-int(description.get("n_bits", 0)) // 8):
            raise ArtifactError(
                f"{where} has another schema than modalhash gives: "
                + (f"no field {', '.join(sorted(missing))}" if missing else f"{width} bits a code")
                + "; make the index again"
            )
        return description, types["id"]["type"].name == "VARCHAR"

    def index_type(self) -> tuple[str, int]:
        """Ask for the type of the collection's index and its number of cells, 0 without."""
        answer = self.call(
            "describe an index",
            self.client.describe_index,
            collection_name=self.name,
            index_name="code",
        )
        return str(answer["index_type"]), int(answer.get("nlist") or 0)

    def drop(self) -> None:
        """Remove the collection."""
        self.call("drop a collection", self.client.drop_collection, collection_name=self.name)

    def flush(self) -> None:
        """Seal what was written; the server does so by itself."""
        self.call("flush a collection", self.client.flush, collection_name=self.name)

    def compact(self) -> None:
        """Ask the server to give back the room of deleted rows; it does so in its own time."""
        self.flush()
        self.call("compact a collection", self.client.compact, collection_name=self.name)

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    # --- rows ---------------------------------------------------------------------------------

    def put(self, rows: Sequence[Row]) -> None:
        """Write rows in the place of those of the same ids; again and again comes to the same."""
        self.call("take items", self.client.upsert, collection_name=self.name, data=list(rows))

    def remove(self, expression: str) -> None:
        """Remove the rows of an `id in [...]`; again and again comes to the same."""
        self.call("delete items", self.client.delete, collection_name=self.name, filter=expression)

    def count(self, expression: str = "", *, consistency: str) -> int:
        """Count the rows that pass an expression."""
        answer = self.call(
            "count items",
            self.client.query,
            collection_name=self.name,
            filter=expression,
            output_fields=["count(*)"],
            consistency_level=consistency,
        )
        return int(answer[0]["count(*)"])

    def rows(self, expression: str, fields: Sequence[str], *, consistency: str) -> list[Row]:
        """Fetch the rows that pass an expression, in no order."""
        answer = self.call(
            "give items",
            self.client.query,
            collection_name=self.name,
            filter=expression,
            output_fields=list(fields),
            consistency_level=consistency,
        )
        return [dict(row) for row in answer]

    def search(
        self,
        queries: Sequence[bytes],
        limit: int,
        expression: str,
        fields: Sequence[str],
        *,
        parameters: Mapping[str, Any],
        consistency: str,
    ) -> list[list[tuple[int, Row]]]:
        """Fetch distance and row of the nearest rows of each query, nearest first."""
        answer = self.call(
            "search",
            self.client.search,
            collection_name=self.name,
            data=list(queries),
            anns_field="code",
            limit=limit,
            filter=expression,
            output_fields=list(fields),
            search_params={"metric_type": "HAMMING", "params": dict(parameters)},
            consistency_level=consistency,
        )
        return [
            [(round(hit["distance"]), {**hit["entity"], "id": hit["id"]}) for hit in hits]
            for hits in answer
        ]


def connect(url: str, timeout: float) -> Any:
    """Make a client of a server.

    Raises:
        IndexServerError: if nobody answers there.
        MissingExtraError: if pymilvus isn't installed.
    """
    milvus = import_optional("pymilvus", extra="milvus", feature="an index on Milvus")
    loggers = logging.getLogger("pymilvus")
    if loggers.level in {logging.NOTSET, logging.WARNING, logging.INFO}:
        loggers.setLevel(logging.CRITICAL)  # it writes traces of what we tell and try again
    try:
        return milvus.MilvusClient(
            uri=url, token=os.environ.get(TOKEN_VARIABLE, ""), timeout=timeout, dedicated=True
        )
    except Exception as error:
        if not is_of_server(error):
            raise
        raise IndexServerError(
            f"no Milvus server answers at {url}: {reason_of(error)}; check the url (its port is "
            f"19530 by default) and, if it wants one, the token in {TOKEN_VARIABLE}"
        ) from error


def check_url(url: object) -> None:
    """Refuse what can't be the url of a server, and one with a password: it would be written down.

    Raises:
        SettingError: if it is.
    """
    expected = "expected http://HOST:PORT or https://HOST:PORT, such as http://localhost:19530"
    if not isinstance(url, str):
        raise SettingError(f"url is {url!r}, {expected}")
    try:
        parts = urlsplit(url)
        is_right = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_right = False
    if not is_right:
        raise SettingError(f"url is {url!r}, {expected}")
    if parts.username is not None or parts.password is not None:
        raise SettingError(
            "url holds a user or a password, which would be written into the index folder: leave "
            f"them out, and set {TOKEN_VARIABLE} to user:password or an API key"
        )


def is_of_server(error: Exception) -> bool:
    """Tell whether an error comes from the server, or from the way to it."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return not names.isdisjoint(
        {"pymilvus.MilvusException", "grpc.RpcError", "grpc.FutureTimeoutError"}
    )


LASTING: Final = re.compile(
    r"parse|invalid|not exist|not found|illegal|exceed.*(length|limit|size)|permission|auth|"
    r"unsupported|mismatch|duplicate|larger than max",
    re.IGNORECASE,
)


def may_pass(error: Exception) -> bool:
    """Tell whether the same call may be answered later: nobody there, no time, no leader."""
    if getattr(error, "retriable", False) is True:
        return True
    return not LASTING.search(reason_of(error)) and "ParamError" not in type(error).__name__


def reason_of(error: Exception) -> str:
    """Read the reason in a server's error, without the traces that old servers put into it."""
    text = str(getattr(error, "message", "") or error)
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not re.search(r"^\S*/\S+\.go:\d+|stack trace", line.strip())
    ]
    text = " ".join(lines) or text.splitlines()[-1].rpartition(": attempt")[2].strip()
    return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH]}..."
