"""Remove credentials from addresses of stores, for every message, log, table and file.

Parsers disagree on where credentials end: a password may contain `/`, `@`, `?` and `#`. So everything up to the last
`@` is hidden, and the parser that will use the address reads the rest: SQLAlchemy's for databases, urllib's for others.
"""

import re
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit, urlunsplit

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Schemes of databases that MLflow takes."""
HIDDEN = "***"
PLAIN = frozenset({
    *("timeout", "connect_timeout", "sslmode", "charset", "client_encoding", "application_name", "driver", "mode"),
    *("check_same_thread", "cache", "uri", "host", "port", "user", "region", "scheme", "endpoint_override"),
    *("allow_bucket_creation", "allow_bucket_deletion", "allow_delayed_open", "anonymous"),
})  # fmt: skip
"""Parameters of addresses that are no secrets; values of all others are hidden."""
SHORTEST = 3
"""Shorter parts of a secret are not searched for in texts: they stand everywhere."""


def is_database(address: str) -> bool:
    """Tell whether an address is that of a database that can be read without a server."""
    return address.partition(":")[0].partition("+")[0] in DATABASES


def show_address(address: str) -> str:
    """Return an address without its credentials and without values of parameters that may be secret."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    _, found, tail = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")
    try:
        shown = _show_database(scheme, tail) if is_database(address) else _show_url(scheme, tail)
    except Exception:  # SQLAlchemy's and urllib's errors quote the address
        return f"{scheme}://{HIDDEN}"
    return shown.replace("://", f"://{HIDDEN}@", 1) if found else shown


def hide_secrets(text: str, *addresses: str) -> str:
    """Hide the secrets of these addresses in a text, and those of addresses that stand in it."""
    for address in addresses:
        text = text.replace(address, show_address(address))
        for secret in sorted(_secret_parts(address), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
    return re.sub(r"\S+", lambda word: _show_word(word.group()), text)


def _show_database(scheme: str, tail: str) -> str:
    import sqlalchemy as sa  # slow, and needed for databases only

    url = sa.make_url(f"{scheme}://{tail}")
    return url.set(query={}).render_as_string(hide_password=True) + _show_query(tail.partition("?")[2])


def _show_url(scheme: str, tail: str) -> str:
    parts = urlsplit(f"{scheme}://{tail}")
    _ = parts.port  # raises ValueError if a password stands in its place
    shown = urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")) if parts.netloc else f"{scheme}://{parts.path}"
    return shown + _show_query(parts.query) + (f"#{HIDDEN}" if parts.fragment else "")


def _show_query(query: str) -> str:
    """Show a query with the values of harmless parameters."""
    parts = []
    for part in query.split("&") if query else ():
        name, given, value = part.partition("=")
        parts.append(f"{name}={value if name in PLAIN else HIDDEN}" if given else HIDDEN)
    return "?" + "&".join(parts) if parts else ""


def _secret_parts(address: str) -> set[str]:
    """Everything of an address that must not be shown, and the parts into which parsers and drivers may divide it."""
    _, separator, rest = address.partition("://")
    if not separator:
        return set()
    credentials = "" if rest.startswith("/") else rest.rpartition("@")[0]
    user, _, password = credentials.partition(":")
    secrets = {credentials, password or user}
    query = rest[len(credentials) :].partition("?")[2]
    secrets |= {part.partition("=")[2] or part for part in query.split("&") if part.partition("=")[0] not in PLAIN}
    secrets |= {value for name, value in parse_qsl(query) if name not in PLAIN}
    for decode in (unquote, unquote_plus):
        secrets |= {decode(secret) for secret in secrets}
    for secret in list(secrets):
        for mark in ":@/?#&;=":
            secret = secret.replace(mark, " ")
        secrets |= set(secret.split())
    return {secret for secret in secrets if len(secret) >= SHORTEST}


def _show_word(word: str) -> str:
    """Hide the secrets of a word that holds an address, such as `(http://user:password@host):`."""
    before, separator, after = word.partition("://")
    if not separator:
        return word
    start = len(before)
    while start and (before[start - 1].isalnum() or before[start - 1] in "+-."):
        start -= 1
    end = len(after.rstrip("'\"`:;,.)]}>"))
    return before[:start] + show_address(f"{before[start:]}://{after[:end]}") + after[end:]
