"""How .NET reads and writes numbers and moments, in the invariant culture: as far as Octostache's filters show it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal


def parse_number(text: str) -> Decimal | None:
    """`text` as a number, exponent and thousands separators allowed, or None."""
    if not re.fullmatch(r"\s*[+-]?(\d[\d,]*)?(\.\d*)?([eE][+-]?\d+)?\s*", text) or not re.search(r"\d", text):
        return None
    return Decimal(text.strip().replace(",", ""))


def parse_integer(text: str) -> int | None:
    """`text` as a 32 bit integer, or None."""
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text):
        return None
    number = int(text)
    return number if -(2**31) <= number < 2**31 else None


def float_text(number: float) -> str:
    """A double as .NET writes it: shortest digits that round-trip, no `.0`, exponents from 1E+15 and below 1E-05."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    if number == 0:
        return "-0" if math.copysign(1, number) < 0 else "0"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    magnitude = len(digits) + exponent - 1
    body = "".join(map(str, digits))
    if magnitude >= 15 or magnitude < -5:
        fraction = f".{body[1:]}" if len(body) > 1 else ""
        text = f"{body[0]}{fraction}E{'+' if magnitude >= 0 else '-'}{abs(magnitude):02d}"
    elif exponent >= 0:
        text = body + "0" * exponent
    elif magnitude >= 0:
        text = f"{body[: magnitude + 1]}.{body[magnitude + 1 :]}"
    else:
        text = "0." + "0" * (-magnitude - 1) + body
    return ("-" if sign else "") + text


def format_number(number: Decimal, pattern: str) -> str | None:
    """`number` by a standard (`N2`, `F`, `D4`, `X`, `P1`, `E3`, `C`) or custom (`#,##0.00`) pattern; None for a bad one."""
    standard = re.fullmatch(r"([A-Za-z])(\d{0,2})", pattern)
    if standard is None:
        return _custom_number(number, pattern)
    letter, given = standard[1].upper(), standard[2]
    places = int(given) if given else None
    match letter:
        case "N":
            return _grouped(number, 2 if places is None else places)
        case "F":
            return f"{_rounded(number, 2 if places is None else places):f}"
        case "P":
            return _grouped(number * 100, 2 if places is None else places) + " %"
        case "C":
            return (
                ("(¤" if number < 0 else "¤")
                + _grouped(abs(number), 2 if places is None else places)
                + (")" if number < 0 else "")
            )
        case "E":
            mantissa, _, exponent = f"{number:.{6 if places is None else places}E}".partition("E")
            return f"{mantissa}{standard[1]}{exponent[0]}{int(exponent[1:]):03d}"
        case "D" | "X" if number == number.to_integral_value():
            whole = int(number)
            if letter == "D":
                return ("-" if whole < 0 else "") + str(abs(whole)).rjust(places or 0, "0")
            text = f"{whole % 2**32:x}".rjust(places or 0, "0")
            return text.upper() if standard[1] == "X" else text
        case "G" | "R":
            return f"{number.normalize():f}" if number else "0"
    return None


def _rounded(number: Decimal, places: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)


def _grouped(number: Decimal, places: int) -> str:
    return f"{_rounded(number, places):,f}"


def _custom_number(number: Decimal, pattern: str) -> str | None:
    """One section of `0`, `#`, `.`, `,`, `%` with text around it."""
    place = re.search(r"[0#][0#,]*(\.[0#]*)?|\.[0#]+", pattern)
    if place is None:
        return pattern
    digits = place[0]
    if "%" in pattern:
        number *= 100
    whole_part, _, fraction_part = digits.partition(".")
    text = f"{_rounded(abs(number), len(fraction_part)):f}"
    whole, _, fraction = text.partition(".")
    required = whole_part.replace(",", "").lstrip("#")
    whole = whole.lstrip("0").rjust(len(required), "0")
    if "," in whole_part:
        whole = re.sub(r"(?<=\d)(?=(\d{3})+$)", ",", whole)
    kept = len(fraction_part.rstrip("#"))
    fraction = fraction[:kept] + fraction[kept:].rstrip("0")
    sign = "-" if number < 0 and re.search(r"[1-9]", text) else ""
    body = whole + (f".{fraction}" if fraction else "")
    return (
        sign
        + pattern[: place.start()].replace('"', "").replace("'", "")
        + body
        + pattern[place.end() :].replace('"', "").replace("'", "")
    )


@dataclass(frozen=True)
class Moment:
    """A date and time. `at` is naive when the text named no zone; `utc` when it ended in `Z`."""

    at: datetime
    utc: bool = False

    def plus(self, offset: timedelta) -> Moment:
        return Moment(self.at + offset, self.utc)


_ISO = r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
_AMERICAN = r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{4})"
_CLOCK = r"(?:[T ]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d{1,7}))?)?)?"
_ZONE = r"\s*(?P<zone>Z|[+-]\d{2}:?\d{2})?"


def parse_moment(text: str) -> Moment | None:
    """The moment in `text`: ISO 8601 or month/day/year, the time and the zone optional. None if it is none."""
    for order in (_ISO, _AMERICAN):
        match = re.fullmatch(rf"\s*{order}{_CLOCK}{_ZONE}\s*", text)
        if match is None:
            continue
        parts = match.groupdict()
        zone = None
        if parts["zone"] == "Z":
            zone = timezone.utc
        elif parts["zone"]:
            sign = -1 if parts["zone"][0] == "-" else 1
            figures = parts["zone"][1:].replace(":", "")
            zone = timezone(sign * timedelta(hours=int(figures[:2]), minutes=int(figures[2:])))
        try:
            date, clock = ("year", "month", "day"), ("hour", "minute", "second")
            year, month, day, hour, minute, second = (int(parts[name] or 0) for name in date + clock)
            micros = int((parts["fraction"] or "").ljust(6, "0")[:6])
            at = datetime(year, month, day, hour, minute, second, micros, zone)
        except ValueError:
            return None
        return Moment(at, parts["zone"] == "Z")
    return None


_STANDARD_PATTERNS = {
    "d": "MM/dd/yyyy",
    "D": "dddd, dd MMMM yyyy",
    "f": "dddd, dd MMMM yyyy HH:mm",
    "F": "dddd, dd MMMM yyyy HH:mm:ss",
    "g": "MM/dd/yyyy HH:mm",
    "G": "MM/dd/yyyy HH:mm:ss",
    "m": "MMMM dd",
    "M": "MMMM dd",
    "O": "yyyy-MM-ddTHH:mm:ss.fffffffK",
    "o": "yyyy-MM-ddTHH:mm:ss.fffffffK",
    "r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
    "s": "yyyy-MM-ddTHH:mm:ss",
    "t": "HH:mm",
    "T": "HH:mm:ss",
    "u": "yyyy-MM-dd HH:mm:ss'Z'",
    "y": "yyyy MMMM",
    "Y": "yyyy MMMM",
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_DATE_PIECE = re.compile(r"""'[^']*'|"[^"]*"|\\.|%|(y+|M+|d+|H+|h+|m+|s+|f+|F+|t+|z+|K)|.""", re.DOTALL)


def format_moment(moment: Moment, pattern: str) -> str | None:
    """`moment` by one of .NET's standard letters or a custom pattern; None for a letter that .NET does not know."""
    if len(pattern) == 1:
        if pattern not in _STANDARD_PATTERNS:
            return None
        pattern = _STANDARD_PATTERNS[pattern]
    return "".join(_date_piece(moment, match) for match in _DATE_PIECE.finditer(pattern))


def _date_piece(moment: Moment, match: re.Match[str]) -> str:
    at, piece = moment.at, match[0]
    if match[1] is None:
        return (
            ""
            if piece == "%"
            else piece[1:]
            if piece[0] == "\\"
            else piece.strip("'\"")
            if len(piece) > 1
            else piece
        )
    width = len(piece)
    match piece[0]:
        case "y":
            return str(at.year % 100).rjust(width, "0") if width <= 2 else str(at.year).rjust(width, "0")
        case "M" if width >= 3:
            return _MONTHS[at.month - 1][: 3 if width == 3 else None]
        case "d" if width >= 3:
            return _DAYS[at.weekday()][: 3 if width == 3 else None]
        case "f":
            return f"{at.microsecond:06d}0"[:width]
        case "F":
            return f"{at.microsecond:06d}0"[:width].rstrip("0")
        case "t":
            return ("AM" if at.hour < 12 else "PM")[:width]
        case "z" | "K":
            return _zone(moment, piece)
    number = {
        "M": at.month,
        "d": at.day,
        "H": at.hour,
        "h": at.hour % 12 or 12,
        "m": at.minute,
        "s": at.second,
    }[piece[0]]
    return str(number).rjust(min(width, 2), "0")


def _zone(moment: Moment, piece: str) -> str:
    if piece == "K" and moment.at.tzinfo is None:
        return ""
    if piece == "K" and moment.utc:
        return "Z"
    offset = moment.at.utcoffset() or timedelta(0)
    sign, minutes = ("-" if offset < timedelta(0) else "+"), abs(offset) // timedelta(minutes=1)
    match piece:
        case "z":
            return f"{sign}{minutes // 60}"
        case "zz":
            return f"{sign}{minutes // 60:02d}"
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"
