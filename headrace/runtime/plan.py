"""The plan of a runtime: what is to be served, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.functions.names import dead_letter_topic_of
from headrace.runtime.dispatch import Dispatch
from headrace.runtime.ports import TopicSpec
from headrace.runtime.retrytopic import retry_topics_of
from headrace.runtime.workers import Pool
from headrace.sandbox.manifest import FunctionSpec, Manifest
from headrace.sandbox.process import WorkerSpec
from headrace.sandbox.wire import Outlet

Outlets = dict[str, Outlet]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be served: the app, its functions, and how a pool of workers is made for one of them.
    `watched`: observers are told of every event, not only of those that did not simply succeed. `cautious`: a function
    that has no progress on a topic with a backlog is refused, unless it is told where to start. `obedient`: it follows
    what operators want of its functions (see `control`).

    `topics` says, by name, what those are made with of which a deployment says it; the others get defaults.

    `pool` gets the function, the topics it may emit to, and the dispatch to tell. `worker` says how a worker is started
    that is to replace those of an earlier plan; a plan without it replaces none.
    """

    app: str
    manifest: Manifest
    pool: Callable[[FunctionSpec, Outlets, Dispatch], Pool]
    watched: bool = False
    cautious: bool = False
    obedient: bool = False
    topics: Mapping[str, TopicSpec] = field(default_factory=dict)
    worker: Callable[[FunctionSpec, Outlets], WorkerSpec] | None = None

    @property
    def functions(self) -> Sequence[FunctionSpec]:
        """What it serves."""
        return self.manifest.functions

    @property
    def names(self) -> set[str]:
        """The topics that matter to it."""
        names: set[str] = set()
        for spec in self.functions:
            letters = dead_letter_topic(self.app, spec)
            retries = retry_topics_of(self.app, spec.name)
            names.update(spec.topics, spec.emits, retries, [letters] if letters else [])
        return names

    def topic(self, name: str, *, partitions: int | None = None, max_bytes: int | None = None) -> TopicSpec:
        """What a topic is made with; `partitions` if nothing else is said."""
        said = self.topics.get(name, TopicSpec(name))
        return replace(said, partitions=said.partitions or partitions, max_bytes=max_bytes)


def dead_letter_topic(app: str, spec: FunctionSpec) -> str | None:
    """Where a function's dead letters go; None if it discards them."""
    return None if spec.discard is not None else spec.dead_letter or dead_letter_topic_of(app, spec.name)
