"""The checks that a version must pass before it may answer, one by one, with what each found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from hansang.errors import ModelError, UsageError
from hansang.models.artifact import Artifact
from hansang.models.compatible import check_compatible
from hansang.models.golden import check_golden, read_golden
from hansang.models.loaded import Loaded, warm_up
from hansang.models.managed import check_rows
from hansang.models.manifest import MANIFEST, check_manifest, hashes
from hansang.models.model import Model
from hansang.models.signature import Signature
from hansang.models.signing import signer_of
from hansang.models.versions.opened import Opened
from hansang.settings import Settings


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `passed` is None where there is nothing to check, and `said` what was found."""

    name: str
    passed: bool | None
    said: str


@dataclass(frozen=True, slots=True)
class Served:
    """What a version must be compatible with; `closed` as `check_compatible` has it."""

    label: str
    signature: Signature | None
    example: Artifact | None
    closed: bool = True


@dataclass(slots=True)
class Examination:
    """Holds a version against all that a swap holds it against; whatever its files raise is a check that failed."""

    opened: Opened
    model: Model
    settings: Settings
    served: Sequence[Served] = ()
    loaded: list[Loaded] = field(default_factory=list)

    def checks(self) -> Iterator[Check]:
        """Do the checks in their order; after one that all others need, a failure ends them."""
        manifest = self.attempt("manifest", self.manifest)
        yield manifest
        if manifest.passed is False:
            return
        yield self.attempt("signature", self.signature)
        load = self.attempt("load", self.load)
        yield load
        if not load.passed:
            return
        try:
            yield self.attempt("input example", self.example)
            yield self.attempt("golden requests", self.golden)
            for served in self.served:
                yield self.attempt(f"compatible with {served.label}", partial(self.compatible, served))
        finally:
            while self.loaded:
                self.loaded.pop().batcher.close()

    def attempt(self, name: str, work: Callable[[], tuple[bool | None, str]]) -> Check:
        """Do one check."""
        try:
            return Check(name, *work())
        except (ModelError, UsageError) as error:
            return Check(name, False, str(error))
        except Exception as error:  # the files of a version may raise whatever they like
            return Check(name, False, f"{type(error).__name__}: {error}")

    def manifest(self) -> tuple[bool | None, str]:
        """Hold the files against the manifest."""
        path = self.opened.path
        if not (path / MANIFEST).is_file():
            return None, f"no {MANIFEST}"
        check_manifest(path)
        return True, f"{len(hashes(path))} files as named"

    def signature(self) -> tuple[bool | None, str]:
        """Look whose signature it is; with HANSANG_SIGNERS an unknown one counts as none."""
        signer = signer_of(self.opened.path, self.settings.signers)
        if signer is None:
            return None, "not signed"
        if signer.known is None:
            return None, f"by {signer.fingerprint}, which is not a known key"
        return True, f"by {signer.fingerprint}, {signer.known.name}"

    def load(self) -> tuple[bool | None, str]:
        """Read the version into memory, if it may be."""
        found = self.model.assemble(self.opened.artifact(), self.settings)
        self.loaded.append(found)
        return True, f"by {found.runtime.name}"

    def example(self) -> tuple[bool | None, str]:
        """Let the version answer its own input example."""
        loaded = self.loaded[0]
        rows = loaded.artifact.example if loaded.artifact is not None else None
        if not rows:
            return None, "no input example"
        warm_up(loaded, rows)
        return True, f"{len(rows)} rows answered"

    def golden(self) -> tuple[bool | None, str]:
        """Let the version answer its golden requests."""
        artifact, loaded = self.opened.artifact(), self.loaded[0]
        count = len(list(read_golden(artifact)))
        check_golden(artifact, loaded.runtime.signature, loaded.batcher.predict)
        return (True, f"{count} answered as expected") if count else (None, "no golden requests")

    def compatible(self, served: Served) -> tuple[bool | None, str]:
        """Hold the schema and the rows against what is served."""
        check_compatible(served.signature, self.loaded[0].runtime.signature, served.closed)
        check_rows(self.loaded[0], served.example)
        return True, "schema fits, rows answered"
