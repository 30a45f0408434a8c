"""HTML and SVG from values, escaped: an element is a name, attributes and children."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

Attribute = str | int | float | bool | None


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


def el(name: str, /, *children: object, **attributes: Attribute) -> Markup:
    """An element. `class_` and `for_` lose their underscore, other underscores become hyphens; None and False
    attributes are left out, True ones stand alone. Children are escaped unless they are `Markup`; iterables of
    children are taken apart, None is nothing."""
    given = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    inner = "".join(_texts(children))
    if not inner and name in VOID:
        return Markup(f"<{name}{given}>" if name in HTML_VOID else f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{inner}</{name}>")


HTML_VOID = frozenset({"img", "input", "meta", "br", "hr", "link"})
VOID = HTML_VOID | {"rect", "line", "circle", "path", "image", "polyline"}


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    if name == "viewbox":
        name = "viewBox"
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{escape(str(value), quote=True)}"'


def _texts(children: Iterable[object]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, (str, int, float)):
            yield escape(str(child), quote=False)
        elif isinstance(child, Iterable):
            yield from _texts(child)
        else:
            raise TypeError(f"a child of an element is a {type(child).__name__}")


def join(parts: Iterable[object]) -> Markup:
    """Elements one after the other."""
    return Markup("".join(_texts(parts)))


def data_uri(jpeg: bytes) -> str:
    """A picture inside the page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
