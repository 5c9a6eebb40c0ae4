"""Safetensors files as sog writes them: the same content always gives the same bytes.

A checksum over every tensor and every metadata entry lies in the metadata. NumPy is enough.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from numpy.typing import NDArray

#: Metadata key of the checksum.
CHECKSUM_KEY = "checksum"

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "U64": np.dtype("<u8"),
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

Tensors = Mapping[str, NDArray[Any]]


class TensorError(ValueError):
    """A file that is not a readable set of tensors."""


def read(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Tensors and metadata of a file, its checksum verified where it has one."""
    return parse(Path(path).read_bytes())


def parse(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Tensors and metadata of a file's bytes; :class:`TensorError` if it is damaged."""
    if len(data) < 8 or (size := int.from_bytes(data[:8], "little")) > len(data) - 8:
        raise TensorError(f"not a safetensors file of {len(data)} bytes")
    body = memoryview(data)[8 + size :]
    try:
        header = json.loads(data[8 : 8 + size])
        metadata = {str(k): str(v) for k, v in header.pop("__metadata__", {}).items()}
        tensors, covered = {}, 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = entry["data_offsets"]
            if begin != covered or end > len(body):
                raise TensorError(f"tensor `{name}` lies at {begin}..{end} of {len(body)} bytes")
            values = np.frombuffer(body[begin:end], _DTYPES[entry["dtype"]])
            tensors[name], covered = values.reshape(entry["shape"]), end
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TensorError(f"not a safetensors file of {len(data)} bytes ({error})") from None
    if covered != len(body):
        raise TensorError(f"{len(body) - covered} bytes after the last tensor")
    stored = metadata.get(CHECKSUM_KEY)
    if stored is not None and stored != (computed := checksum(tensors, metadata)):
        raise TensorError(f"checksum is {computed}, the file says {stored}: it is damaged")
    return tensors, metadata


def serialize(tensors: Tensors, metadata: Mapping[str, str]) -> bytes:
    """Bytes of a file with these tensors and this metadata, the checksum added."""
    arrays = {name: _little(name, values) for name, values in tensors.items()}
    meta = {k: v for k, v in metadata.items() if k != CHECKSUM_KEY}
    meta[CHECKSUM_KEY] = checksum(arrays, meta)
    # Wider elements first keeps every tensor aligned; by name within one width.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    entries: dict[str, Any] = {"__metadata__": dict(sorted(meta.items()))}
    offset = 0
    for name in order:
        values = arrays[name]
        end = offset + values.nbytes
        entries[name] = {
            "data_offsets": [offset, end],
            "dtype": _NAMES[values.dtype],
            "shape": list(values.shape),
        }
        offset = end
    # Keys in the order of the alphabet, as sog writes them.
    header = json.dumps(dict(sorted(entries.items())), separators=(",", ":"), ensure_ascii=False)
    raw = header.encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + b"".join(arrays[name].tobytes() for name in order)


def checksum(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    """``crc32:`` and the CRC-32 of all metadata and tensors, each by name."""
    crc = 0
    for key, value in sorted(metadata.items()):
        if key != CHECKSUM_KEY:
            crc = zlib.crc32(f"{key}\0{value}\0".encode(), crc)
    for name in sorted(tensors):
        values = _little(name, tensors[name])
        shape = ",".join(map(str, values.shape))
        crc = zlib.crc32(f"{name}\0{_NAMES[values.dtype]}\0{shape}\0".encode(), crc)
        crc = zlib.crc32(values.tobytes(), crc)
    return f"crc32:{crc:08x}"


def _little(name: str, values: NDArray[Any]) -> NDArray[Any]:
    # Not `ascontiguousarray`, which makes a vector of a scalar.
    array = np.asarray(values, order="C")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype not in _NAMES:
        raise TensorError(f"tensor `{name}` has type {array.dtype}, need one of {sorted(_DTYPES)}")
    return array
