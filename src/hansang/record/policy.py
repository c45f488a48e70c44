"""Field policies: what the record keeps of a field. `Annotated[str, Hash()]` on a field of a schema declares one.

A policy stands in the JSON schema as `x-hansang-policy`, so `Field(json_schema_extra={"x-hansang-policy": "hash"})`
declares it too. It holds for the record, the spool, the payloads, the feedback and the jobs; never for the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import Any

from pydantic import GetJsonSchemaHandler, SecretStr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, to_json

from hansang.errors import SchemaError, SettingsError

KEYWORD = "x-hansang-policy"
PREFIX = "hash:"
SHORTEST_SECRET = 16
SHOWN = 4
LEAST_HIDDEN = 3  # of so many characters at most one is shown
PLAIN = frozenset(" -_.,:;/@+()")  # what a mask leaves, so that the shape is seen
GONE: Any = type("Gone", (), {"__repr__": lambda self: "GONE"})()
TEXT = re.compile(r"keep|hash|drop|mask(?::(\d{1,3}))?")


class Kind(IntEnum):
    """The policies, the laxest first; where several hold for one field, the strictest counts."""

    keep = 0
    mask = 1
    hash = 2
    drop = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept of a field; `shown` is for masks alone."""

    kind: Kind
    shown: int = 0

    def __str__(self) -> str:
        return f"{self.kind.name}:{self.shown}" if self.kind is Kind.mask else self.kind.name

    @property
    def strictness(self) -> tuple[int, int]:
        """The order of policies."""
        return self.kind, -self.shown

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), KEYWORD: str(self)}

    def of(self, value: Any, secret: Secret | None) -> Any:
        """Give what is kept of a value; null stays null, `GONE` stands for nothing at all."""
        if self.kind is Kind.drop:
            return GONE
        if value is None or self.kind is Kind.keep:
            return value
        if self.kind is Kind.mask:
            return masked(value, self.shown)
        assert secret is not None  # a service with a hash does not start without one
        return secret.hash(value)


KEEP = Policy(Kind.keep)


def Keep() -> Policy:
    """Keep the field as it is, which is what happens without a policy; it says that somebody thought of it."""
    return KEEP


def Hash() -> Policy:
    """Keep `hash:` and 32 hexadecimal digits, keyed by `HANSANG_RECORD_KEY`; equal values have equal hashes."""
    return Policy(Kind.hash)


def Mask(shown: int = SHOWN) -> Policy:
    """Keep the shape and the last `shown` characters, never more than a third of the text; the others become `*`."""
    if not 0 <= shown < 1000:
        raise SchemaError(f"a mask shows {shown} characters; give 0 to 999")
    return Policy(Kind.mask, shown)


def Drop() -> Policy:
    """Keep nothing: the record has no such field."""
    return Policy(Kind.drop)


def read_policy(text: Any) -> Policy:
    """Read a policy's text: `keep`, `hash`, `mask`, `mask:2` or `drop`; raises `SchemaError` for another one."""
    found = TEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise SchemaError(f"{text!r} is no policy of a field; give keep, hash, mask, mask:2 or drop")
    kind = Kind[str(text).partition(":")[0]]
    return Policy(kind, int(found[1] or SHOWN) if kind is Kind.mask else 0)


def strictest(policies: list[Policy]) -> Policy:
    """Give the policy that counts where several hold."""
    return max(policies, key=lambda policy: policy.strictness, default=KEEP)


# --- hash ---


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret that hashes are keyed by (BLAKE2b, RFC 7693, 128 bits): who has not got it cannot try values out."""

    key: bytes

    def __repr__(self) -> str:
        return "Secret(***)"

    def hash(self, value: Any) -> str:
        """Hash a value; 7, 7.0 and "7" are one, as they are to a split."""
        text = text_of(value).encode("utf-8", "surrogatepass")
        return PREFIX + blake2b(text, key=self.key, digest_size=16, person=b"hansang policy 1").hexdigest()


def secret_of(text: str) -> Secret:
    """Make the secret of a setting's text; raises `ValueError` when it is too short to be one."""
    if len(text) < SHORTEST_SECRET:
        raise ValueError(f"the secret has {len(text)} characters; give {SHORTEST_SECRET} or more that nobody can guess")
    return Secret(blake2b(text.encode(), person=b"hansang key 1").digest())


def secret_from(setting: SecretStr | None) -> Secret | None:
    """Read the setting `HANSANG_RECORD_KEY`; raises `SettingsError`."""
    try:
        return None if setting is None else secret_of(setting.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"HANSANG_RECORD_KEY: {error}") from None


def text_of(value: Any) -> str:
    """Write a value as the text that is hashed; objects and arrays as JSON in an order of their own."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict | list):
        return to_json(ordered(value)).decode()
    return str(value)


def ordered(value: Any) -> Any:
    """Bring the names of objects into an order, whatever order they came in."""
    if isinstance(value, dict):
        return {name: ordered(value[name]) for name in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


# --- mask ---


def masked(value: Any, shown: int) -> Any:
    """Mask a value: texts and numbers as text, the parts of objects and arrays each."""
    if isinstance(value, dict):
        return {name: masked(item, shown) for name, item in value.items()}
    if isinstance(value, list):
        return [masked(item, shown) for item in value]
    if value is None:
        return None
    if isinstance(value, bool):
        return "*"
    text = str(value)
    hidden = len(text) - min(shown, len(text) // LEAST_HIDDEN)
    return "".join([sign if sign in PLAIN else "*" for sign in text[:hidden]]) + text[hidden:]
