"""Content-addressed rows: messages and blobs, each stored once whoever refers to it, written and read inside the caller's transaction.

A blob over 8 KiB is cut into chunks of 4 KiB at fixed offsets. The rendered prompt of a step begins as the one before, so a long conversation
stores only the chunk that changed and a list of hashes (1/128 of the bytes).
"""

import hashlib
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from noria.errors import StoreError
from noria.schema import Message, canonical_json
from noria.store import tables

CHUNK_BYTES = 4096
_HASH_BYTES = 32


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose primary key is not there yet, in the order of their hashes (so that two writers never deadlock)."""
    if not rows:
        return
    ordered = sorted({row["hash"]: row for row in rows}.values(), key=lambda row: row["hash"])
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(table).on_conflict_do_nothing(), ordered)


def put_messages(connection: Connection, messages: Sequence[Message]) -> list[str]:
    """Store the messages that are new and return the content address of each."""
    rows = [{"hash": m.hash, "body": canonical_json(m.model_dump(exclude_defaults=True))} for m in messages]
    insert_new(connection, tables.messages, rows)
    return [row["hash"] for row in rows]


def get_messages(connection: Connection, hashes: Sequence[str]) -> list[Message]:
    """The messages at these addresses, in this order. Raises StoreError for one that is not stored."""
    wanted = sorted(set(hashes))
    found: dict[str, Message] = {}
    for start in range(0, len(wanted), 500):
        query = select(tables.messages).where(tables.messages.c.hash.in_(wanted[start : start + 500]))
        found.update((row.hash, Message.model_validate_json(row.body)) for row in connection.execute(query))
    missing = next((h for h in hashes if h not in found), None)
    if missing is not None:
        raise StoreError(f"Message `{missing}` is not in the database. Restore a backup if it should be there.")
    return [found[h] for h in hashes]


def put_blobs(connection: Connection, values: Sequence[bytes]) -> list[str]:
    """Store the blobs that are new, all in one statement, and return the content address of each."""
    rows: list[dict[str, Any]] = []
    addresses: list[str] = []
    for value in values:
        addresses.append(hashlib.sha256(value).hexdigest())
        if len(value) <= 2 * CHUNK_BYTES:
            rows.append({"hash": addresses[-1], "chunked": False, "data": value})
            continue
        parts = [value[start : start + CHUNK_BYTES] for start in range(0, len(value), CHUNK_BYTES)]
        digests = [hashlib.sha256(part).digest() for part in parts]
        rows.extend({"hash": d.hex(), "chunked": False, "data": part} for d, part in zip(digests, parts, strict=True))
        rows.append({"hash": addresses[-1], "chunked": True, "data": b"".join(digests)})
    insert_new(connection, tables.blobs, rows)
    return addresses


def get_blobs(connection: Connection, addresses: Iterable[str]) -> dict[str, bytes]:
    """The bytes at each address. Raises StoreError for one that is not stored."""
    wanted = set(addresses)
    roots = _blob_rows(connection, wanted)
    parts = _blob_rows(connection, {part for chunked, data in roots.values() if chunked for part in unpack_hashes(data)})
    return {a: b"".join(parts[p][1] for p in unpack_hashes(data)) if chunked else data for a, (chunked, data) in roots.items()}


def _blob_rows(connection: Connection, addresses: set[str]) -> dict[str, tuple[bool, bytes]]:
    wanted = sorted(addresses)
    found: dict[str, tuple[bool, bytes]] = {}
    for start in range(0, len(wanted), 500):
        query = select(tables.blobs).where(tables.blobs.c.hash.in_(wanted[start : start + 500]))
        found.update((row.hash, (row.chunked, bytes(row.data))) for row in connection.execute(query))
    if len(found) < len(wanted):
        missing = next(a for a in wanted if a not in found)
        raise StoreError(f"Blob `{missing}` is not in the database. Restore a backup if it should be there.")
    return found


def chain(start: str, hashes: Iterable[str]) -> str:
    """The chained hash of a list: continuing it by one more costs the same however long the list is. The empty list is the empty text."""
    for value in hashes:
        start = hashlib.sha256((start + value).encode()).hexdigest()
    return start


def visible_hash(message: Message) -> str:
    """Address of what a client sees of a message and sends back later: without hints and without the ids of calls."""
    calls = [[call.name, call.arguments] for call in message.tool_calls]
    return hashlib.sha256(canonical_json([message.role, message.content, calls]).encode()).hexdigest()


def pack_hashes(hashes: Iterable[str]) -> bytes:
    return b"".join(bytes.fromhex(h) for h in hashes)


def unpack_hashes(data: bytes) -> list[str]:
    return [data[start : start + _HASH_BYTES].hex() for start in range(0, len(data), _HASH_BYTES)]


def _little_endian(values: "array[Any]") -> "array[Any]":
    if sys.byteorder == "big":
        values.byteswap()
    return values


def pack_ints(values: Iterable[int]) -> bytes:
    """Token ids as little-endian int32."""
    return _little_endian(array("i", values)).tobytes()


def unpack_ints(data: bytes) -> tuple[int, ...]:
    return tuple(_little_endian(array("i", data)))


def pack_floats(values: Iterable[float]) -> bytes:
    """Log-probabilities as little-endian float32."""
    return _little_endian(array("f", values)).tobytes()


def unpack_floats(data: bytes) -> tuple[float, ...]:
    return tuple(_little_endian(array("f", data)))
