"""Named sampler presets: small files, publican's own and those of a host's folder.

A file is TOML: optional `source` and `dialect`, then parameters as that dialect says them (publican's own names if it says
none). Its name is the preset's. A host's folder may also hold text-generation-webui's ``.yaml`` presets, which are flat lists
of values.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from publican.core.errors import InvalidParameter, SettingsError
from publican.core.sampling import DECLARED, SamplingParams
from publican.core.sampling.dialects import DIALECTS
from publican.core.sampling.wire import said, sampling_names

_SUFFIXES = (".toml", ".yaml", ".yml")
_ABOUT = ("source", "dialect")
_NONE = ("", "none")


class Presets:
    """Looks presets up by name, in whatever case, with dashes, underscores or spaces. Thread-safe: it keeps nothing.

    Args:
        folder: the host's own presets, which come before publican's of the same name; None or a folder that is not there has
        none.
        defaults: canonical names and values of the model that will answer, which hold where neither a request nor its preset
            says anything.
    """

    def __init__(self, folder: Path | None = None, defaults: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self.defaults = dict(defaults or {})

    def over(self, defaults: Mapping[str, Any]) -> Presets:
        """The same presets, for a model with these defaults."""
        return Presets(self._folder, defaults)

    def names(self) -> tuple[str, ...]:
        """Every preset, in alphabetical order."""
        found = {_plain(file.name): _stem(file.name) for file in reversed(tuple(self._files()))}
        return tuple(sorted(found.values(), key=str.casefold))

    def get(self, name: str) -> Mapping[str, Any]:
        """Canonical names and values of preset `name`.

        Raises:
            InvalidParameter: there is none of that name.
            SettingsError: its file is broken; says how.
        """
        wanted = _plain(name)
        for file in self._files():
            if _plain(_stem(file.name)) == wanted:
                return _read(file)
        raise InvalidParameter("preset", f"{name!r:.60} is not here; there are {', '.join(self.names())}.")

    def of_request(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The preset that a request's body names, or None if it names none."""
        name = body.get("preset")
        if name is None or (isinstance(name, str) and name.strip().casefold() in _NONE):
            return None
        if not isinstance(name, str):
            raise InvalidParameter("preset", "must be the name of a preset.")
        return self.get(name)

    def _files(self) -> Iterator[Traversable]:
        """The host's first, then publican's."""
        if self._folder is not None and self._folder.is_dir():
            yield from sorted((f for f in self._folder.iterdir() if f.suffix in _SUFFIXES), key=lambda f: f.name)
        yield from sorted((f for f in files(__package__).iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def _plain(name: str) -> str:
    return name.strip().casefold().replace("-", " ").replace("_", " ")


def _read(file: Traversable) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        given = tomllib.loads(text) if file.name.endswith(".toml") else _flat_yaml(text)
    except (ValueError, OSError) as error:
        raise SettingsError(f"The preset {file.name} cannot be read: {error}.") from None
    dialect = str(given.get("dialect", "openai" if file.name.endswith(".toml") else "ooba"))
    if dialect not in DIALECTS:
        raise SettingsError(f"The preset {file.name} names the dialect {dialect!r:.60}; there are {', '.join(DIALECTS)}.")
    unknown = sorted(given.keys() - sampling_names(dialect) - set(_ABOUT))
    if unknown:
        raise SettingsError(f"The preset {file.name} sets {unknown[0]}, which is no sampling parameter.")
    try:
        values = said(dialect, {name: value for name, value in given.items() if name not in _ABOUT})
        SamplingParams(**values)
    except InvalidParameter as error:
        raise SettingsError(f"The preset {file.name} is wrong: {error}") from None
    return {name: value for name, value in values.items() if name in DECLARED}


def _flat_yaml(text: str) -> dict[str, Any]:
    """``name: value`` lines; values are numbers, true, false or text."""
    values: dict[str, Any] = {}
    for line in text.splitlines():
        bare = line.split(" #", 1)[0].strip()
        if not bare or bare.startswith("#"):
            continue
        name, colon, value = bare.partition(":")
        if not colon:
            raise ValueError(f"the line {line!r:.60} has no colon")
        values[name.strip()] = _scalar(value.strip())
    return values


def _scalar(text: str) -> Any:
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")
