"""Broken JPEGs and broken frame records, drawn by a seed: what a network, a bad camera or an attacker may send.

Each mutator takes the source of randomness and whole bytes and returns broken ones; the same seed gives the same bytes.
JPEG's parts are named as in ITU-T T.81 (annex B): segments of a marker and a length, a frame header (SOF), scans (SOS).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import orjson
import simplejpeg

from pipeline.keys.frames import FRAME_HEADER, MAX_JPEG_BYTES, SEALED_HEADERS, TERMS_HEADER, TRACE_HEADER
from pipeline.ports import InMessage

Mutator = Callable[[random.Random, bytes], bytes]

_SOF = {0xC0, 0xC1, 0xC2}
_EXTREME = (0, 1, 2, 7, 8, 31, 32, 255, 2048, 4096, 32_767, 65_500, 65_535)


@dataclass(frozen=True, slots=True)
class Segment:
    """Where a marker segment stands: `start` at its 0xFF, `end` after its last byte (of a scan: its header's)."""

    marker: int
    start: int
    end: int


def segments(data: bytes) -> list[Segment]:
    """The segments up to the first scan's header."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        found.append(Segment(data[at + 1], at, at + 2 + length))
        if data[at + 1] == 0xDA:
            break
        at += 2 + length
    return found


def pictures() -> list[bytes]:
    """JPEGs of every kind that cameras send, drawn here: subsampled, full, grey, progressive, with restarts, in print
    colours, and the smallest that is allowed.
    """
    noise = np.random.default_rng(4).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    soft = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)
    encoded = [simplejpeg.encode_jpeg(soft, quality=q, colorspace="BGR", colorsubsampling=s)
               for q, s in ((85, "420"), (95, "444"), (60, "422"))]  # fmt: skip
    encoded.append(simplejpeg.encode_jpeg(np.ascontiguousarray(soft[..., :1]), quality=85, colorspace="GRAY"))
    encoded.append(simplejpeg.encode_jpeg(np.dstack([soft, soft[..., :1]]), quality=85, colorspace="CMYK"))
    encoded.append(simplejpeg.encode_jpeg(np.ascontiguousarray(soft[:32, :32]), quality=85, colorspace="BGR"))
    flags = ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])
    return [bytes(data) for data in encoded] + [cv2.imencode(".jpg", soft, flag)[1].tobytes() for flag in flags]


def flip_bits(draw: random.Random, data: bytes) -> bytes:
    """One to sixteen bits, anywhere."""
    broken = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
    return bytes(broken)


def truncate(draw: random.Random, data: bytes) -> bytes:
    """The beginning alone; often it ends in the headers."""
    return data[: draw.randrange(draw.choice([8, 700, len(data)]) + 1)]


def overwrite(draw: random.Random, data: bytes) -> bytes:
    """A run of other bytes in place, inserted, or taken out."""
    start, length = draw.randrange(len(data)), draw.choice([1, 2, 4, 16, 256])
    kind = draw.randrange(3)
    filling = draw.choice([draw.randbytes(length), b"\xff" * length, bytes(length)])
    if kind == 0:
        return data[:start] + filling + data[start + length :]
    return data[:start] + (filling if kind == 1 else b"") + data[start + (0 if kind == 1 else length) :]


def lie_about_a_length(draw: random.Random, data: bytes) -> bytes:
    """A segment says that it is longer or shorter than it is."""
    part = draw.choice(segments(data))
    length = draw.choice([0, 1, 2, 3, part.end - part.start - 3, part.end - part.start, 65_535, draw.randrange(65_536)])
    return data[: part.start + 2] + struct.pack(">H", length % 65_536) + data[part.start + 4 :]


def lie_about_the_size(draw: random.Random, data: bytes) -> bytes:
    """The frame header announces another width and height, up to 65,535 each."""
    part = _frame_header(data)
    height, width = (draw.choice([*_EXTREME, draw.randrange(65_536)]) for _ in range(2))
    return data[: part.start + 5] + struct.pack(">HH", height, width) + data[part.start + 9 :]


def lie_about_the_colours(draw: random.Random, data: bytes) -> bytes:
    """Another precision, number of components, sampling, or an Adobe marker that claims another colour space."""
    part = _frame_header(data)
    kind = draw.randrange(4)
    if kind == 3:
        adobe = b"\xff\xee\x00\x0eAdobe\x00d\x00\x00\x00\x00" + bytes([draw.randrange(4)])
        return data[:2] + adobe + data[2:]
    at = {0: part.start + 4, 1: part.start + 9, 2: part.start + draw.randrange(10, part.end - part.start)}[kind]
    return data[:at] + bytes([draw.choice([0, 1, 2, 3, 4, 8, 12, 16, 17, 255, draw.randrange(256)])]) + data[at + 1 :]


def change_the_process(draw: random.Random, data: bytes) -> bytes:
    """The frame header claims another coding process: lossless, hierarchical, arithmetic, progressive."""
    part = _frame_header(data)
    return data[: part.start + 1] + bytes([draw.randrange(0xC0, 0xD0)]) + data[part.start + 2 :]


def break_a_table(draw: random.Random, data: bytes) -> bytes:
    """Other bytes within a quantisation or Huffman table, or a scan's header."""
    part = draw.choice([s for s in segments(data) if s.marker in {0xDB, 0xC4, 0xDA, 0xDD}])
    broken = bytearray(data)
    for _ in range(draw.choice([1, 1, 3, 20])):
        broken[draw.randrange(part.start + 4, min(part.end, len(broken)))] = draw.randrange(256)
    return bytes(broken)


def soup_of_markers(draw: random.Random, data: bytes) -> bytes:
    """Markers where none belong, between and inside segments and in the entropy-coded data."""
    broken = bytearray(data)
    for _ in range(draw.choice([1, 2, 8, 64])):
        at = draw.randrange(len(broken))
        broken[at:at] = bytes(
            [0xFF, draw.choice([0xD8, 0xD9, 0xDA, 0xC0, 0xC2, 0xC4, 0xD0, 0x01, draw.randrange(256)])]
        )
    return bytes(broken)


def shuffle_segments(draw: random.Random, data: bytes) -> bytes:
    """Segments in another order, doubled or left out."""
    parts = segments(data)
    texts = [data[s.start : s.end] for s in parts[:-1]]
    kind = draw.randrange(3)
    if kind == 0:
        draw.shuffle(texts)
    elif kind == 1 and texts:
        texts += draw.choices(texts, k=draw.choice([1, 8, 100]))
    elif texts:
        texts.pop(draw.randrange(len(texts)))
    return data[:2] + b"".join(texts) + data[parts[-1].start :]


def many_scans(draw: random.Random, data: bytes) -> bytes:
    """The scan again and again: each would cost a pass over the whole picture."""
    start = segments(data)[-1].start
    length = draw.choice([12, 40, len(data) - start - 2])
    scan = data[start : start + length]
    return data[:-2] + scan * draw.choice([1, 10, 63, 64, 200]) + data[-2:]


def splice(draw: random.Random, data: bytes) -> bytes:
    """Its beginning with its own end from elsewhere, followed by another beginning or by rubbish."""
    cut, again = sorted(draw.randrange(len(data)) for _ in range(2))
    return data[:again] + data[cut:] + draw.choice([b"", data[:cut], draw.randbytes(64)])


MUTATORS: tuple[Mutator, ...] = (
    flip_bits, truncate, overwrite, lie_about_a_length, lie_about_the_size, lie_about_the_colours, change_the_process,
    break_a_table, soup_of_markers, shuffle_segments, many_scans, splice,
)  # fmt: skip


def mutated(draw: random.Random, data: bytes) -> tuple[str, bytes]:
    """One mutant, or a mutant of a mutant, as large as a frame may be, and the mutators' names."""
    names: list[str] = []
    for _ in range(draw.choice([1, 1, 1, 2])):
        if names and not _has_its_parts(data):
            break
        mutator = draw.choice(MUTATORS)
        names.append(mutator.__name__)
        data = mutator(draw, data)[:MAX_JPEG_BYTES]
    return "+".join(names), data


def _has_its_parts(data: bytes) -> bool:
    """Whether the headers can still be taken apart: only then is a mutant mutated again."""
    parts = segments(data)
    whole = all(part.end <= len(data) and part.end - part.start > 4 for part in parts)
    heads = [part for part in parts if part.marker in _SOF and part.end - part.start > 10]
    return whole and bool(heads) and heads[0] == _frame_header(data) and parts[-1].marker == 0xDA


def _frame_header(data: bytes) -> Segment:
    return next(s for s in segments(data) if s.marker in _SOF)


_VALUES: Sequence[object] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64 - 1, 1.5, "", "x", "\u0000", "a" * 4000, [], {}, [[[[1]]]], "2027-01-15",
)  # fmt: skip


def broken_record(draw: random.Random, message: InMessage) -> tuple[str, InMessage]:
    """A sealed frame's record with one thing wrong: a header, a field within one, the key or the sealed bytes."""
    kind = draw.choice(["header", "header", "field", "field", "field", "key", "value", "place", "nothing"])
    if kind == "header":
        return _broken_header(draw, message)
    if kind == "field":
        name = draw.choice([TERMS_HEADER, FRAME_HEADER])
        return f"field of {name}", _with(message, name, _broken_json(draw, dict(message.headers)[name]))
    if kind == "key":
        return "key", replace(message, key=draw.choice([None, b"", b"t-2", b"\xff\xfe", draw.randbytes(300)]))
    if kind == "value":
        value = message.value or b""
        cut = draw.choice([None, b"", value[: draw.randrange(30)], value[:-1], value + b"\0", flip_bits(draw, value)])
        return "value", replace(message, value=cut)
    if kind == "nothing":
        return "nothing", message
    return "place", replace(message, partition=draw.randrange(64), offset=draw.randrange(2**40))


def _broken_header(draw: random.Random, message: InMessage) -> tuple[str, InMessage]:
    name = draw.choice([*SEALED_HEADERS, TRACE_HEADER])
    value = dict(message.headers)[name]
    kind = draw.randrange(6)
    if kind == 0:
        return f"no {name}", replace(message, headers=tuple(h for h in message.headers if h[0] != name))
    if kind == 1:
        return f"two {name}", replace(message, headers=(*message.headers, (name, value)))
    other = (flip_bits(draw, value), b"", draw.randbytes(draw.choice([1, 55, 4096, 5000])), value + b" ")[kind - 2]
    return f"other {name}", _with(message, name, other)


def _broken_json(draw: random.Random, text: bytes) -> bytes:
    """One field of a JSON object missing, of another type, out of range, doubled or not JSON at all."""
    fields: Mapping[str, object] = orjson.loads(text)
    name = draw.choice(sorted(fields))
    kind = draw.randrange(5)
    if kind == 0:
        return orjson.dumps({key: value for key, value in fields.items() if key != name})
    if kind == 1:
        return orjson.dumps({**fields, name: draw.choice(_VALUES)})
    if kind == 2:
        return text[:-1] + b',"' + name.encode() + b'":' + orjson.dumps(draw.choice(_VALUES)) + b"}"
    if kind == 3:
        return b"[" * 900 + text + b"]" * 900
    return flip_bits(draw, text)


def _with(message: InMessage, name: str, value: bytes) -> InMessage:
    return replace(message, headers=tuple((k, value if k == name else v) for k, v in message.headers))


def seeds(seed: int, count: int) -> Iterator[random.Random]:
    """A source of randomness per case: a case can be repeated alone, by its number."""
    for case in range(count):
        yield random.Random(f"facepay {seed} {case}")
