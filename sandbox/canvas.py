"""A page of PDF 1.4 drawn by hand: text in the built-in Helvetica, rectangles, and one QR code as an image.

What a newcomer would get wrong: y grows downwards here, from the top of the page, in points (72 to an
inch); PDF's own y grows upwards, and the turn is made in one place.

Nothing is embedded: every reader brings Helvetica. Its encoding is WinAnsi, which has all of Spanish; a
character beyond it becomes a question mark.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final, Literal

WIDTH: Final = 612
HEIGHT: Final = 792
Color = tuple[float, float, float]
Font = Literal["regular", "bold", "mono"]
BLACK: Final[Color] = (0.13, 0.15, 0.19)

_FONTS: Final[dict[Font, bytes]] = {"regular": b"F1", "bold": b"F2", "mono": b"F3"}
# Adobe's widths of Helvetica and Helvetica-Bold, in thousandths of the size, from the blank (32) to the tilde (126).
_REGULAR: Final = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278"
    " 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667"
    " 944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556"
    " 333 500 278 556 500 722 500 500 500 334 260 334 584"
)
_BOLD: Final = (
    "278 333 474 556 556 889 722 238 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 333 333"
    " 584 584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 722 778 667 778 722 667 611 722 667"
    " 944 667 667 611 333 278 333 584 556 333 556 611 556 611 556 333 611 611 278 278 556 278 889 611 611 611 611"
    " 389 556 333 611 556 778 556 556 500 389 280 389 584"
)


class _Widths(dict[str, int]):
    """Widths by character; an accented letter is as wide as the plain one, the unknown as a digit."""

    def __missing__(self, char: str) -> int:
        self[char] = 1000 if char == "…" else self.get(unicodedata.normalize("NFD", char)[0], 556)
        return self[char]


_WIDTHS: Final = {
    font: _Widths((chr(code), int(told)) for code, told in enumerate(table.split(), start=32))
    for font, table in (("regular", _REGULAR), ("bold", _BOLD))
}
_WIDEST: Final = 1.1


def width(text: str, size: float, font: Font = "regular") -> float:
    """How wide a text is, in points."""
    if font == "mono":
        return len(text) * 0.6 * size
    return sum(map(_WIDTHS[font].__getitem__, text)) * size / 1000


def wrapped(text: str, size: float, room: float, lines: int, font: Font = "regular") -> list[str]:
    """The text in lines that fit into `room` points; what is beyond `lines` of them ends in an ellipsis."""
    if len(text) * size * _WIDEST <= room or width(text, size, font) <= room:
        return [" ".join(text.split())]
    done: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and width(longer, size, font) > room:
            done.append(line)
            line = word
        else:
            line = longer
    done.append(line)
    if len(done) > lines:
        done = [*done[: lines - 1], done[lines - 1] + "…"]
    return [clipped(line, size, room, font) for line in done]


def clipped(text: str, size: float, room: float, font: Font = "regular") -> str:
    """The text, shortened with an ellipsis where it is wider than `room` points."""
    if len(text) * size * _WIDEST <= room or width(text, size, font) <= room:
        return text
    while text and width(text + "…", size, font) > room:
        text = text[:-1]
    return text + "…"


class Canvas:
    """One letter-size page."""

    def __init__(self) -> None:
        self._drawn: list[bytes] = []
        self._image: tuple[bytes, int] | None = None

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 8,
        font: Font = "regular",
        color: Color = BLACK,
        align: Literal["left", "right", "center"] = "left",
    ) -> None:
        """One line whose baseline is at y; `x` is its left end, right end or middle."""
        if align != "left":
            x -= width(text, size, font) / (2 if align == "center" else 1)
        # Bytes and %: twice as fast as an f-string, and a page has eighty of these.
        self._drawn.append(
            b"BT %b %.2f %.2f Td (%b) Tj ET" % (_style(color, font, size), x, HEIGHT - y, _escaped(text))
        )

    def box(self, x: float, y: float, w: float, h: float, color: Color) -> None:
        """A filled rectangle with its upper left corner at (x, y)."""
        self._drawn.append(b"%b rg %.2f %.2f %.2f %.2f re f" % (_rgb(color), x, HEIGHT - y - h, w, h))

    def line(self, x: float, y: float, to_x: float, color: Color, thickness: float = 0.6) -> None:
        """A horizontal line."""
        self._drawn.append(
            b"%b RG %g w %.2f %.2f m %.2f %.2f l S"
            % (_rgb(color), thickness, x, HEIGHT - y, to_x, HEIGHT - y)
        )

    def qr(self, x: float, y: float, side: float, rows: list[int]) -> None:
        """The page's QR code, `side` points wide; dark modules are 1."""
        modules = len(rows)
        stride = -(-modules // 8)
        fill = 8 * stride - modules
        self._image = (b"".join((row << fill).to_bytes(stride, "big") for row in rows), modules)
        self._drawn.append(b"q 0 g %.2f 0 0 %.2f %.2f %.2f cm /Q Do Q" % (side, side, x, HEIGHT - y - side))

    def pdf(self, title: str) -> bytes:
        """The document."""
        # Not compressed: that would cost a tenth of the page's time to save 7 KB of a file nobody archives.
        content = b"\n".join(self._drawn)
        resources = b"/Font<</F1 5 0 R/F2 6 0 R/F3 7 0 R>>"
        objects = [
            b"<</Type/Catalog/Pages 2 0 R/Lang(es-MX)>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"",
            b"<</Length %d>>stream\n%b\nendstream" % (len(content), content),
            *(_font(name) for name in (b"Helvetica", b"Helvetica-Bold", b"Courier")),
            b"<</Title<%b>/Producer(ContaDigital sandbox)>>" % _utf16(title),
        ]
        if self._image is not None:
            bits, side = self._image
            resources += b"/XObject<</Q 9 0 R>>"
            objects.append(
                b"<</Type/XObject/Subtype/Image/ImageMask true/Decode[1 0]/BitsPerComponent 1/Width %d/Height %d"
                b"/Length %d>>stream\n%b\nendstream" % (side, side, len(bits), bits)
            )
        objects[2] = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents 4 0 R/Resources<<%b>>>>" % (
            WIDTH,
            HEIGHT,
            resources,
        )
        return _file(objects)


def _font(name: bytes) -> bytes:
    return b"<</Type/Font/Subtype/Type1/BaseFont/%b/Encoding/WinAnsiEncoding>>" % name


def _file(objects: list[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<</Size %d/Root 1 0 R/Info 8 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1,
        start,
    )
    return bytes(out)


def _utf16(text: str) -> bytes:
    return (b"\xfe\xff" + text.encode("utf-16-be")).hex().encode()


@lru_cache(maxsize=128)
def _style(color: Color, font: Font, size: float) -> bytes:
    return b"%b rg /%b %g Tf" % (_rgb(color), _FONTS[font], size)


@lru_cache(maxsize=64)
def _rgb(color: Color) -> bytes:
    return b"%g %g %g" % color


def _escaped(text: str) -> bytes:
    return text.encode("cp1252", "replace").replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")
