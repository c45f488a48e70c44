"""Rolled: a managed model whose champion answers alone, or with a challenger in the shadow or for a share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hansang.batch import Batch
from hansang.dispatch import Dispatcher, Part
from hansang.graph import Lifetime, Node
from hansang.models.beside import Version
from hansang.models.loaded import Loaded
from hansang.models.model import Model
from hansang.models.registry import CHAMPION
from hansang.models.rollout import CHALLENGER, Rollout
from hansang.nodes.shadow import shadow
from hansang.nodes.split import split
from hansang.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Rolled(Dispatcher):
    """A managed model as it runs in a service: what answers is built anew when the registry's rollout changes.

    It switches between two batches: those that are under way end where they began. `champion` is the model, measured;
    beside it stands what `split` and `shadow` make of it and the challenger, named `rollout-ID`.
    """

    champion: Node
    model: Model
    site: Site = field(repr=False)
    name: str = ""
    _now: list[Node] = field(default_factory=list, init=False, repr=False)
    _said: list[str] = field(default_factory=lambda: [""], init=False, repr=False)
    _moves: list[int] = field(default_factory=lambda: [0], init=False, repr=False)
    changing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._now.append(self.champion)

    @property
    def label(self) -> str:
        """The name of the model."""
        return self.model.label

    @property
    def moves(self) -> int:
        """How often what answers was exchanged since the start."""
        return self.model.moves + self._moves[0]

    def prompt(self, batch: Batch) -> bool:
        """Say whether what answers now would not wait; with a challenger it may."""
        return self._now[0].prompt(batch)

    def fingerprint(self) -> str:
        """Say who answers: of a split, both versions and their shares."""
        return self.champion.fingerprint() + self._said[0]

    def parts(self, batch: Batch) -> Iterable[Part]:
        """Give the batch to what answers now."""
        return (Part(batch, self._now[0]),)

    async def show(self, rollout: Rollout | None, challenger: Loaded | None) -> None:
        """Let a rollout begin, go on with another share, or end; raises `UsageError` when its key cannot be one."""
        node, said = self.champion, ""
        if rollout is not None and challenger is not None:
            node = self._beside(rollout, challenger)
            said = f" {rollout.text()} {challenger.fingerprint}" if rollout.mode == "split" else ""
            if isinstance(node, Lifetime):
                await node.__aenter__()
        before, self._now[0] = self._now[0], node
        if said != self._said[0]:
            self._said[0] = said
            self._moves[0] += 1
        if before is not self.champion and isinstance(before, Lifetime):
            await before.__aexit__(None, None, None)

    def _beside(self, rollout: Rollout, challenger: Loaded) -> Node:
        """Make what answers with a challenger; it knows nothing of the graphs before it, which are freed."""
        site = replace(self.site, bound={}, managed=None)
        beside = Version(challenger)
        if rollout.mode == "shadow":
            return shadow(self.model, beside, rollout.share, rollout.by, name=rollout.node).bind(site)
        sides = {CHAMPION: (self.model, 1.0 - rollout.share), CHALLENGER: (beside, rollout.share)}
        return split(sides, by=rollout.by, name=rollout.node).bind(site)

    async def __aenter__(self) -> Rolled:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.show(None, None)


def rolled(model: Model, site: Site) -> Node:
    """Give what stands for a managed model; in the background, and so in another's shadow, the champion is alone."""
    if site.background:
        return model
    return Rolled(replace(site, managed=None, bound={}).bind(model), model, site)
