"""The filters of Octostache: `apply` looks one up by name, ignoring case, and gives None where the token must stay.

A filter gets its argument (None when the variable is missing) and its options, already evaluated.
Source: Octostache, BuiltInFunctions and Templates/Functions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TypeAlias

from generator.emulator.octostache.dotnet import (
    Moment,
    format_moment,
    format_number,
    parse_integer,
    parse_moment,
    parse_number,
)

Options: TypeAlias = Sequence[str]
TextFilter: TypeAlias = Callable[[str, Options], "str | None"]


def apply(name: str, argument: str | None, options: Options, *, now: Callable[[], float]) -> str | None:
    """The result of filter `name`, or None: unknown, no argument where one is needed, or wrong options."""
    key = name.lower()
    if key in ("nowdate", "nowdateutc"):
        return _now(now(), key == "nowdateutc", options) if argument is None and len(options) <= 1 else None
    if key in ("append", "prepend"):
        if not options:
            return None
        parts = (argument or "", "".join(options))
        return "".join(parts if key == "append" else reversed(parts))
    if argument is None:
        return None
    if key in _PLAIN:
        return None if options else _PLAIN[key](argument)
    if key in _WITH_OPTIONS:
        return _WITH_OPTIONS[key](argument, options)
    return None


def _now(seconds: float, utc: bool, options: Options) -> str | None:
    at = datetime.fromtimestamp(seconds, timezone.utc)
    moment = Moment(at, utc=True) if utc else Moment(at.astimezone().replace(tzinfo=None))
    return format_moment(moment, options[0] if options else "O")


def _added(unit: str) -> TextFilter:
    def add(argument: str, options: Options) -> str | None:
        amount = parse_number(options[0]) if len(options) == 1 else None
        moment = parse_moment(argument)
        if amount is None or moment is None:
            return None
        try:
            return format_moment(moment.plus(timedelta(**{unit: float(amount)})), "O")
        except OverflowError:
            return None

    return add


def _format(argument: str, options: Options) -> str | None:
    if len(options) == 1:
        number = parse_number(argument)
        if number is not None:
            return format_number(number, options[0])
        return _formatted_moment(argument, options[0])
    if len(options) != 2:
        return None
    kind, pattern = options[0].lower(), options[1]
    if kind in ("int", "int32"):
        integer = parse_integer(argument)
        return None if integer is None else format_number(Decimal(integer), pattern)
    if kind in ("double", "decimal"):
        number = parse_number(argument)
        return None if number is None else format_number(number, pattern)
    return _formatted_moment(argument, pattern) if kind in ("date", "datetime", "datetimeoffset") else None


def _formatted_moment(argument: str, pattern: str) -> str | None:
    moment = parse_moment(argument)
    return None if moment is None else format_moment(moment, pattern)


def _escaped(table: Mapping[str, str]) -> Callable[[str], str]:
    return lambda text: "".join(table.get(character, character) for character in text)


_XML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
_JSON = {'"': '\\"', "\r": "\\r", "\t": "\\t", "\n": "\\n", "\\": "\\\\"}
_PROPERTIES = {"\\": "\\\\", "\r": "\\r", "\n": "\\n", "\t": "\\t"}


def _unicode_escaped(text: str, is_plain: Callable[[str], bool]) -> str:
    return "".join(c if is_plain(c) else _code_units(c) for c in text)


def _code_units(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _yaml_double_quote(text: str) -> str:
    return _unicode_escaped(_escaped(_JSON)(text), lambda c: " " <= c <= "~")


def _yaml_single_quote(text: str) -> str:
    doubled = re.sub(r"(?:\r?\n)+", lambda m: ("\r\n" if m[0].startswith("\r") else "\n") + m[0], text)
    return doubled.replace("'", "''")


def _properties_key(text: str) -> str:
    table = {**_PROPERTIES, " ": "\\ ", ":": "\\:", "=": "\\="}
    return _unicode_escaped(_escaped(table)(text), lambda c: c < "\xff")


def _properties_value(text: str) -> str:
    escaped = _unicode_escaped(_escaped(_PROPERTIES)(text), lambda c: c < "\xff")
    return f"\\{escaped}" if escaped.startswith(" ") else escaped


def _encoding(name: str) -> str | None:
    return {"utf8": "utf-8", "utf-8": "utf-8", "unicode": "utf-16-le"}.get(name.lower())


def _to_base64(argument: str, options: Options) -> str | None:
    encoding = _encoding(options[0] if options else "utf8")
    if encoding is None or len(options) > 1:
        return None
    return base64.b64encode(argument.encode(encoding)).decode("ascii")


def _from_base64(argument: str, options: Options) -> str | None:
    encoding = _encoding(options[0] if options else "utf8")
    data = _base64_bytes(argument)
    if encoding is None or data is None or len(options) > 1:
        return None
    return data.decode(encoding, errors="replace")


def _base64_bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode(re.sub(r"[ \t\r\n]", "", text).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None


def _hash(algorithm: str) -> TextFilter:
    def digest(argument: str, options: Options) -> str | None:
        """Options: an encoding (utf8, unicode, base64) and a length in bytes, in any order, each at most once."""
        if len(options) > 2:
            return None
        size: int | None = None
        encoding: str | None = None
        for option in options:
            number = parse_integer(option)
            if number is not None and number > 0 and size is None:
                size = number
            elif encoding is None and (option.lower() == "base64" or _encoding(option)):
                encoding = option.lower()
            else:
                return None
        data = (
            _base64_bytes(argument)
            if encoding == "base64"
            else argument.encode(_encoding(encoding or "utf8") or "")
        )
        return None if data is None else hashlib.new(algorithm, data).digest()[:size].hex()

    return digest


def _trim(argument: str, options: Options) -> str | None:
    if not options:
        return argument.strip()
    return {"start": argument.lstrip(), "end": argument.rstrip()}.get(options[0].lower())


def _truncate(argument: str, options: Options) -> str | None:
    length = parse_integer(options[0]) if options else None
    if length is None or length < 0:
        return None
    suffix = options[1] if len(options) > 1 else "..."
    return argument[:length] + suffix if length < len(argument) else argument


def _substring(argument: str, options: Options) -> str | None:
    numbers = [parse_integer(option) for option in options]
    if len(numbers) not in (1, 2) or any(number is None or number < 0 for number in numbers):
        return None
    start, length = (0, numbers[0]) if len(numbers) == 1 else numbers
    if start is None or length is None or start > len(argument):
        return None
    return argument[start : start + length]


def _indent(argument: str, options: Options) -> str | None:
    """Options: none (four spaces), `n`, `first/rest`, `/rest`, a text, or two texts."""
    if not argument:
        return ""
    if len(options) > 2:
        return None
    first, rest = ("    ", "    ") if not options else (options[0], options[-1])
    sizes = re.fullmatch(r"((\d{1,3})?/)?(\d{1,3})", options[0]) if len(options) == 1 else None
    if sizes is not None and int(sizes[3]) < 256 and int(sizes[2] or 0) < 256:
        rest = " " * int(sizes[3])
        first = rest if sizes[1] is None else " " * int(sizes[2] or 0)
    return first + argument.replace("\n", "\n" + rest)


def _replace(argument: str, options: Options) -> str | None:
    if not options:
        return None
    replacement = options[1] if len(options) > 1 else ""
    python = re.sub(
        r"\$(\d+|\{\w+\})", lambda m: f"\\g<{m[1].strip('{}')}>", replacement.replace("\\", "\\\\")
    )
    try:
        return re.sub(_python_regex(options[0]), python.replace("$$", "$"), argument)
    except (re.error, IndexError):
        return None


def _match(argument: str, options: Options) -> str | None:
    if len(options) != 1:
        return None
    try:
        return str(re.search(_python_regex(options[0]), argument) is not None).lower()
    except re.error:
        return None


def _python_regex(pattern: str) -> str:
    return re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", pattern)


def _comparison(holds: Callable[[str, str], bool]) -> TextFilter:
    return lambda argument, options: str(holds(argument, options[0])).lower() if len(options) == 1 else None


# Source: Octopus.Versioning, OctopusVersionParser.
_VERSION = re.compile(
    r"(?:[vV]?(?P<major>\d+)(?:\.(?P<minor>\d+))?(?:\.(?P<patch>\d+))?(?:\.(?P<revision>\d+))?)?"
    r"(?:[.\-_\\])?(?P<release>(?P<prefix>[^+.\-_\s]*?)(?:[.\-_\\](?P<counter>[^+\s]*?)?)?)?"
    r"(?:\+(?P<metadata>[^\s]*?))?\s*"
)


def _version(part: str, missing: str = "") -> TextFilter:
    def take(argument: str, options: Options) -> str | None:
        match = _VERSION.fullmatch(argument)
        if match is None:
            return None
        found = match[part] or missing
        return str(int(found)) if missing else found

    return take


def _uri_part(argument: str, options: Options) -> str:
    if not options:
        return "[UriPart error: no argument given]"
    uri, part = urllib.parse.urlsplit(argument.strip()), options[0].lower()
    if part not in _URI_PARTS:
        return f"[UriPart {options[0]} error: argument '{options[0]}' not supported]"
    if part == "isabsoluteuri":
        return str(bool(uri.scheme)).lower()
    if not uri.scheme:
        return f"[UriPart {options[0]} error: This operation is not supported for a relative URI.]"
    return _URI_PARTS[part](uri)


_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443}


def _host(uri: urllib.parse.SplitResult) -> str:
    return uri.hostname or ""


def _port(uri: urllib.parse.SplitResult) -> int:
    return uri.port if uri.port is not None else _PORTS.get(uri.scheme, -1)


def _authority(uri: urllib.parse.SplitResult) -> str:
    return _host(uri) if _port(uri) == _PORTS.get(uri.scheme, -1) else f"{_host(uri)}:{_port(uri)}"


def _host_name_type(uri: urllib.parse.SplitResult) -> str:
    try:
        return f"IPv{ipaddress.ip_address(_host(uri)).version}"
    except ValueError:
        return "Dns" if _host(uri) else "Basic"


def _path(uri: urllib.parse.SplitResult) -> str:
    return uri.path or "/"


def _query(uri: urllib.parse.SplitResult) -> str:
    return f"?{uri.query}" if uri.query else ""


_URI_PARTS: Mapping[str, Callable[[urllib.parse.SplitResult], str]] = {
    "absolutepath": _path,
    "absoluteuri": lambda uri: uri._replace(path=_path(uri)).geturl(),
    "authority": _authority,
    "dnssafehost": _host,
    "fragment": lambda uri: f"#{uri.fragment}" if uri.fragment else "",
    "host": _host,
    "hostandport": lambda uri: f"{_host(uri)}:{_port(uri)}",
    "hostnametype": _host_name_type,
    "isabsoluteuri": lambda uri: "true",
    "isdefaultport": lambda uri: str(_port(uri) == _PORTS.get(uri.scheme, -1)).lower(),
    "isfile": lambda uri: str(uri.scheme == "file").lower(),
    "isloopback": lambda uri: str(_host(uri) in ("localhost", "127.0.0.1", "::1")).lower(),
    "isunc": lambda uri: str(uri.scheme == "file" and bool(_host(uri))).lower(),
    "path": lambda uri: urllib.parse.unquote(_path(uri)),
    "pathandquery": lambda uri: _path(uri) + _query(uri),
    "port": lambda uri: str(_port(uri)),
    "query": _query,
    "scheme": lambda uri: uri.scheme,
    "schemeandserver": lambda uri: f"{uri.scheme}://{_authority(uri)}",
    "userinfo": lambda uri: uri.netloc.rpartition("@")[0],
}

_PLAIN: Mapping[str, Callable[[str], str]] = {
    "tolower": str.lower,
    "toupper": str.upper,
    "htmlescape": _escaped({**_XML, "/": "&#x2F;"}),
    "xmlescape": _escaped(_XML),
    "jsonescape": _escaped(_JSON),
    "uriescape": lambda text: urllib.parse.quote(text, safe="-_.!~*'();/?:@&=+$,#[]"),
    "uridataescape": lambda text: urllib.parse.quote(text, safe="-_.~"),
    "yamlsinglequoteescape": _yaml_single_quote,
    "yamldoublequoteescape": _yaml_double_quote,
    "propertieskeyescape": _properties_key,
    "propertiesvalueescape": _properties_value,
}
_WITH_OPTIONS: Mapping[str, TextFilter] = {
    "tobase64": _to_base64,
    "frombase64": _from_base64,
    "adddays": _added("days"),
    "addhours": _added("hours"),
    "format": _format,
    "match": _match,
    "replace": _replace,
    "startswith": _comparison(str.startswith),
    "endswith": _comparison(str.endswith),
    "contains": _comparison(lambda text, part: part in text),
    "substring": _substring,
    "truncate": _truncate,
    "trim": _trim,
    "indent": _indent,
    "uripart": _uri_part,
    "versionmajor": _version("major", "0"),
    "versionminor": _version("minor", "0"),
    "versionpatch": _version("patch", "0"),
    "versionrevision": _version("revision", "0"),
    "versionprerelease": _version("release"),
    "versionprereleaseprefix": _version("prefix"),
    "versionprereleasecounter": _version("counter"),
    "versionmetadata": _version("metadata"),
    **{name: _hash(name) for name in ("md5", "sha1", "sha256", "sha384", "sha512")},
}
