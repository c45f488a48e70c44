"""A name, a graph and schemas: what is served, whatever serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from inspect import isclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_settings import BaseSettings

from hansang.errors import SchemaError, UsageError
from hansang.extras import require
from hansang.graph import Lifetime, Node, as_node, inside_out, walk
from hansang.joints.check import Joint, check, first_model, joints, last_model
from hansang.joints.hints import item_of, prediction_hint
from hansang.metrics import Metrics
from hansang.models.model import Model
from hansang.models.schema import input_schema, output_schema
from hansang.nodes.reach import reach
from hansang.nodes.remote import remote
from hansang.places import find, placed
from hansang.settings import Settings, load_settings
from hansang.site import Site
from hansang.switches import Switches

if TYPE_CHECKING:
    from fastapi import FastAPI

Resource = Callable[[], AbstractAsyncContextManager[Any]]


class Route(TypedDict, total=False):
    """The options of an endpoint; see `Endpoint`."""

    input: Any
    output: Any
    deadline: float | None
    example: Mapping[str, Any] | None
    description: str
    dependencies: Sequence[Any]


@dataclass(frozen=True, eq=False)
class Endpoint:
    """One prediction route: a path, a graph and the schemas of its rows.

    `input` is a pydantic model, or any type pydantic reads as an object; a function with FastAPI's annotations that
    returns a row (or a list of rows); or nothing, when the graph starts with a model whose signature says it.
    `deadline` is the default for requests that bring none, in seconds. `example` is a row for the documentation and
    for the readiness check.
    """

    path: str
    graph: Node
    name: str = ""
    input: Any = None
    output: Any = None
    deadline: float | None = None
    example: Mapping[str, Any] | None = None
    description: str = ""
    dependencies: Sequence[Any] = ()
    _resolved: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.path.strip("/").replace("/", "-") or "predict")

    @property
    def reader(self) -> TypeAdapter[Any]:
        """What makes rows of plain values; anything passes where fields come from all over a request."""
        return TypeAdapter(self.row if not self.declared else Any)

    @property
    def bound(self) -> Node:
        """The graph as it runs: bound while the service is running, as it was declared before."""
        graph: Node = self._resolved.get("bound", self.graph)
        return graph

    @property
    def placed(self) -> Node:
        """The graph as it is on this machine: nodes that run elsewhere are replaced by remote ones, once loaded."""
        graph: Node = self._resolved.get("placed", self.graph)
        return graph

    def place(self, elsewhere: Mapping[int, Node]) -> None:
        """Replace nodes, by their identity, by what stands for them here."""
        self._resolved["placed"] = placed(self.graph, elsewhere)

    def bind(self, site: Site) -> Node:
        """Bind the graph to where it runs, until the service ends."""
        graph = site.graph(self.placed)
        self._resolved["bound"] = graph
        return graph

    def unbind(self) -> None:
        """Forget where the graph ran."""
        self._resolved.pop("bound", None)

    @property
    def models(self) -> list[Model]:
        """The models of the graph that are in this process, outermost first."""
        return [node for node in walk(self.placed) if isinstance(node, Model)]

    @property
    def answering(self) -> list[Model]:
        """The models that an answer waits for: those of a shadow's candidate, say, are left out."""
        return [node for node in walk(self.placed, aside=False) if isinstance(node, Model)]

    @property
    def row(self) -> Any:
        """The schema of a row: the declared one, or the first model's."""
        return self._resolved.get("row", self.input)

    @property
    def prediction(self) -> Any:
        """The schema of a prediction: the declared one, or the last model's, or none."""
        return self._resolved.get("prediction", self.output)

    @property
    def declared(self) -> bool:
        """Whether fields come from elsewhere than the body, so that FastAPI reads the request."""
        return is_function(self.input) or marked(self.input)

    @property
    def given(self) -> Any:
        """The type of the rows that enter the graph: the schema, or what a function of the request returns."""
        if not is_function(self.input):
            return self.row
        hint = prediction_hint(self.input)
        return hint if item_of(hint) is Any else item_of(hint)

    @property
    def joints(self) -> list[Joint]:
        """Where what one node gives is what the next one takes; known when the service is loaded."""
        return list(self._resolved.get("joints", ()))

    def resolve(self) -> None:
        """Find the schemas that the models declare, and check every joint of the graph; models are loaded.

        Raises `SchemaError` when a schema is missing, or when what one node gives cannot be what the next one takes.
        """
        first, last = first_model(self.placed), last_model(self.placed)
        if self.input is None:
            if first is None:
                here = " in this process" if first_model(self.graph) is not None else ""
                raise SchemaError(f"endpoint {self.path} needs input=: its graph does not start with a model{here}")
            artifact = first.loaded.artifact
            self._resolved["row"] = input_schema(first.loaded.runtime.signature, artifact.example if artifact else None)
        found = joints(self.graph, self.given, self.output)
        check(found, self.path)
        self._resolved["joints"] = found
        if self.output is None and last is not None:
            signature = last.loaded.runtime.signature
            if signature is not None and signature.outputs:
                self._resolved["prediction"] = output_schema(signature)
        for node, at_start in reach(self.graph):
            node.check(self.row if at_start and not is_function(self.input) else None)
        self._resolved["example"] = self._find_example(first)

    def sample(self) -> Any:
        """Give an example row as plain values: the declared one, the schema's, or the model's; `None` without."""
        return self._resolved.get("example")

    def _find_example(self, first: Model | None) -> Mapping[str, Any] | None:
        if self.declared and self.example is None:
            return None
        candidates = [self.example, schema_example(self.row)]
        if first is not None and first.loaded.artifact is not None:
            candidates += (first.loaded.artifact.example or [])[:1]
        reader = self.reader
        for candidate in candidates:
            if candidate is not None:
                try:
                    reader.validate_python(candidate, strict=False)
                except ValidationError as error:
                    if candidate is self.example:
                        raise SchemaError(f"the example of {self.path} does not fit its schema: {error}") from error
                else:
                    return candidate
        return None


class Service:
    """A graph of nodes with a name and typed schemas; serve it over HTTP, offline, or from any ASGI server.

    `Service("bikes", Model("models:/bikes"))` answers `POST /predict`; more routes come with `endpoint`. `resources`
    are functions that give an async context manager: each is entered at start-up, and left after the drain. `settings`
    is a pydantic-settings class of the user's own, read at start; its values are `service.settings`.

    Raises `UsageError` and its kin at load, never at the first request.
    """

    def __init__(
        self,
        name: str,
        graph: Node | Callable[..., Any] | None = None,
        *,
        owner: str = "",
        version: str = "0",
        resources: Sequence[Resource] = (),
        settings: type[BaseSettings] | None = None,
        path: str = "/predict",
        **route: Unpack[Route],
    ) -> None:
        self.name = name
        self.description, self.owner, self.version = route.get("description", ""), owner, version
        self.resources = list(resources)
        self.settings_class = settings
        self.endpoints: list[Endpoint] = []
        self.metrics = Metrics()
        self.switches: Switches | None = None
        self.whole: Service = self  # the service whose node this one serves, where it serves one alone
        self._loaded = False
        if graph is not None:
            self.endpoint(path, graph, **route)
        elif route.keys() - {"description"}:
            raise UsageError(f"service {name!r} has schemas but no graph; give it a node, or use service.endpoint(…)")

    def endpoint(
        self, path: str, graph: Node | Callable[..., Any], *, name: str = "", **route: Unpack[Route]
    ) -> Endpoint:
        """Add a prediction route with a graph and schemas of its own; see `Endpoint` for the options."""
        if "_app" in vars(self):
            raise UsageError("add endpoints before service.app is used; the application is built from them")
        if not path.startswith("/"):
            raise UsageError(f"the path {path!r} of an endpoint must start with /")
        if any(other.path == path for other in self.endpoints):
            raise UsageError(f"service {self.name!r} has two endpoints at {path}")
        endpoint = Endpoint(path, as_node(graph), name, **route)
        self.endpoints.append(endpoint)
        return endpoint

    def find(self, name: str) -> Endpoint:
        """Give the endpoint of a path or a name; a `UsageError` names those that there are."""
        for endpoint in self.endpoints:
            if name in (endpoint.path, endpoint.name):
                return endpoint
        known = ", ".join(endpoint.path for endpoint in self.endpoints)
        raise UsageError(f"service {self.name!r} has no endpoint {name!r}; it has: {known}")

    def __repr__(self) -> str:
        return f"Service({self.name!r}, {', '.join(endpoint.path for endpoint in self.endpoints)})"

    @cached_property
    def settings(self) -> Any:
        """The values of the user's settings class; a wrong value is a `SettingsError` that names it."""
        return load_settings(self.settings_class) if self.settings_class is not None else None

    @property
    def models(self) -> list[Model]:
        """All models of all endpoints, each once."""
        found: dict[int, Model] = {}
        for endpoint in self.endpoints:
            found.update((id(model), model) for model in endpoint.models)
        return list(found.values())

    @property
    def app(self) -> FastAPI:
        """The service as a FastAPI application: add routers, middleware and handlers of your own, or mount it."""
        app: FastAPI = self._app
        return app

    @cached_property
    def _app(self) -> Any:
        return require("hansang.server.app", "").make_app(self)

    def lifespan(self, app: object) -> AbstractAsyncContextManager[Any]:
        """Start and stop the service with an application that mounts it: `FastAPI(lifespan=service.lifespan)`."""
        return self.app.router.lifespan_context(self.app)

    def load(self, settings: Settings | None = None) -> None:
        """Load the models and check the schemas; does nothing the second time.

        Raises `ModelError`, `SchemaError` or `SettingsError` with what is wrong and what to do.
        """
        if self._loaded:
            return
        if not self.endpoints:
            raise UsageError(f"service {self.name!r} has no endpoint; give it a graph")
        settings = settings or load_settings(Settings)
        _ = self.settings
        self.switches = Switches(settings.switches)
        elsewhere = self._elsewhere(settings)
        for endpoint in self.endpoints:
            endpoint.place(elsewhere)
        try:
            for model in self.models:
                model.load(settings, self.metrics)
            for endpoint in self.endpoints:
                endpoint.resolve()
        except BaseException:
            self.unload()
            raise
        self._loaded = True

    def _elsewhere(self, settings: Settings) -> dict[int, Node]:
        """Make remote nodes of those that the settings put elsewhere; `UsageError` for a name that is not clear."""
        graphs = {endpoint.path: endpoint.graph for endpoint in self.whole.endpoints}
        elsewhere: dict[int, Node] = {
            id(find(graphs, name)): remote(place.address(name), name=name, timeout=place.timeout)
            for name, place in settings.nodes.items()
        }
        if settings.node is not None:
            elsewhere.pop(id(find(graphs, settings.node)), None)  # that is this process
        return elsewhere

    def unload(self) -> None:
        """Let go of the models."""
        for model in self.models:
            model.unload()
        self._loaded = False

    def site(self, endpoint: Endpoint) -> Site:
        """Give what the nodes of an endpoint may know of this service."""
        return Site(self.name, endpoint.name, self.metrics, switches=self.switches)

    @asynccontextmanager
    async def running(self, site: Callable[[Endpoint], Site] | None = None) -> AsyncIterator[None]:
        """Bind the graphs, enter the resources, and the nodes that hold something; leave them in the opposite order.

        A node is entered after those that it is made of, so that it can still use them when it is left.
        `site` says what the nodes of an endpoint may know; by default it is `Service.site`.
        """
        async with AsyncExitStack() as stack:
            for resource in self.resources:
                await stack.enter_async_context(resource())
            seen: set[int] = set()
            for endpoint in self.endpoints:
                for node in inside_out(endpoint.bind((site or self.site)(endpoint)), seen):
                    if isinstance(node, Lifetime):
                        await stack.enter_async_context(node)
            try:
                yield
            finally:
                for endpoint in self.endpoints:
                    endpoint.unbind()
                self._loaded = False  # leaving the models lets go of them


def schema_example(schema: Any) -> Mapping[str, Any] | None:
    """Make an example row from a schema's own examples: the whole row's, or each field's example or default."""
    if schema is None:
        return None
    described = TypeAdapter(schema).json_schema()
    if described.get("examples"):
        return dict(described["examples"][0])
    row: dict[str, Any] = {}
    for name, kind in described.get("properties", {}).items():
        if kind.get("examples"):
            row[name] = kind["examples"][0]
        elif name in described.get("required", ()):
            return None
    return row or None


def is_function(schema: Any) -> bool:
    """Say whether rows are made by a function; `dict[str, int]` and its kind can be called too, and are types."""
    return callable(schema) and not isclass(schema) and get_origin(schema) is None


def marked(schema: Any) -> bool:
    """Say whether fields of a model carry FastAPI's annotations (Path, Query, Header, Cookie, Form, File).

    The type hints are asked, since pydantic melts FastAPI's marks into fields of its own.
    """
    if not getattr(schema, "model_fields", None):
        return False
    try:
        hints = get_type_hints(schema, include_extras=True)
    except NameError:  # types that only the function around the class knows
        return False
    return any(
        type(mark).__module__ == "fastapi.params"
        for name in schema.model_fields
        for mark in getattr(hints.get(name), "__metadata__", ())
    )
