"""From a request's parts to an answer: decode, encode, search, rerank, each in its own threads.

The event loop does none of it. One thread encodes texts, another decodes and encodes pictures, one
after another, since an encoder uses all cores by itself; a few search. Texts of several requests
are encoded together, and their searches made together where they want the same. Searches with a
filter, which may read all metadata, and those of many hits have a thread of their own, so that
others don't wait for them.
Large bodies are parsed and answers written in one more thread. Clients take turns in every queue,
and work stops when nobody waits for it any more.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final, ParamSpec, TypeVar

from PIL import Image

from modalhash.artifacts import HashModel
from modalhash.index import QueryHits
from modalhash.index.interruption import interrupt_when
from modalhash.search import (
    Answer,
    EncodedQuery,
    SearchIndex,
    SearchPlan,
    encode_output,
    encode_part,
    encode_text,
    explain_hits,
    find_nearest_of_all,
    make_answer,
)
from modalhash.search_request import PartName, SearchRequest
from modalhash.service.batching import Batcher
from modalhash.service.hosting import IndexHandle
from modalhash.service.lanes import Lane
from modalhash.service.metrics import Metrics
from modalhash.service.pixels import PixelBudget
from modalhash.service.settings import ServiceSettings
from modalhash.service.uploads import count_pixels, open_upload
from modalhash.service.work import Work, current_work, is_all_over

__all__ = ["Engine", "SideResult", "Stages"]

logger = logging.getLogger("modalhash.service")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


HEAVY_BATCH: Final = 4
"""Searches with filters or of many hits that are made together."""
LIGHT_COST: Final = 250
"""Hits of a search that others may wait for."""
EXPLAINED_COST: Final = 5
"""Hits that cost as much as one with its explanation."""


@dataclass
class Stages:
    """Seconds that a request spent in each stage, waiting included."""

    decode: float = 0.0
    encode: float = 0.0
    search: float = 0.0
    rerank: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def milliseconds(self) -> dict[str, float]:
        """List the stages' milliseconds by name, with the total so far."""
        named = {
            "decode": self.decode,
            "encode": self.encode,
            "search": self.search,
            "rerank": self.rerank,
            "total": time.perf_counter() - self.began,
        }
        return {name: round(1000 * seconds, 3) for name, seconds in named.items()}


@dataclass(frozen=True)
class SideResult:
    """What a search of one side found.

    Attributes:
        answer: the hits.
        rerank_seconds: time of the second stage.
    """

    answer: Answer
    rerank_seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Search:
    """A search of one side that somebody waits for."""

    handle: IndexHandle
    query: EncodedQuery
    plan: SearchPlan
    work: Work


@dataclass(frozen=True, eq=False)
class Text:
    """A text that somebody waits for the features of."""

    model: HashModel
    text: str


class Engine:
    """Threads, and the queues before them.

    Args:
        settings: of the server.
        metrics: are told how much is done at once.
        under_way: how many requests are being worked on.
    """

    def __init__(
        self, settings: ServiceSettings, metrics: Metrics, under_way: Callable[[], int]
    ) -> None:
        self.settings, self.metrics = settings, metrics
        self._encoding = ThreadPoolExecutor(1, "encode")
        self._searching = ThreadPoolExecutor(settings.search_threads, "search")
        self._heavy_searching = ThreadPoolExecutor(1, "heavy-search")
        self._pictures, self._thumbnails = Lane("picture"), Lane("thumbnail")
        self._lookups, self._changes = Lane("look-up", settings.search_threads), Lane("change")
        self._conversions, self._counts = Lane("convert", rests=True), Lane("count")
        self._tallies = Lane("tally", rests=True)
        self.pixels = PixelBudget(settings.picture_memory)
        self._past_encoding = 0
        wait = settings.batch_wait / 1000
        self.texts: Batcher[Text, EncodedQuery] = Batcher(
            self._encode_texts,
            self._encoding,
            most=settings.batch_texts,
            wait=wait if settings.batch_texts > 1 else 0.0,
            under_way=lambda: under_way() - self._past_encoding,
        )
        self.searches: Batcher[Search, SideResult] = Batcher(
            self._search,
            self._searching,
            most=settings.batch_texts,
            wait=0.0,
            under_way=under_way,
            at_once=settings.search_threads,
        )
        self.heavy_searches: Batcher[Search, SideResult] = Batcher(
            self._search_heavily,
            self._heavy_searching,
            most=HEAVY_BATCH,
            wait=0.0,
            under_way=under_way,
        )

    async def decode(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """Run a function in the thread that decodes and encodes pictures, one after another."""
        return await self._pictures.run(lambda: function(*arguments, **named))

    async def make_small(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """Run a function in the thread that makes thumbnails."""
        return await self._thumbnails.run(lambda: function(*arguments, **named))

    async def look_up(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """Run a function among those that look up single items."""
        return await self._lookups.run(lambda: function(*arguments, **named))

    async def write(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """Run a function in the thread that changes and opens indexes, one at a time."""
        return await self._changes.run(lambda: function(*arguments, **named))

    async def convert(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """Run a function in the thread that parses bodies and writes answers."""
        return await self._conversions.run(lambda: function(*arguments, **named))

    async def count(self, function: Callable[[], Result]) -> Result:
        """Run a function in the thread that counts what there is; it waits for no search."""
        return await self._counts.run(function)

    async def tally(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """Run a function that reads the metadata of many items, in a thread of its own.

        Raises:
            SearchStoppedError: if its filter takes too long, or nobody waits for it.
        """
        works = [current_work.get() or Work()]

        def limited() -> Result:
            with self._limit_filter(works):
                return function(*arguments, **named)

        return await self._tallies.run(limited)

    async def select(
        self,
        function: Callable[Parameters, Result],
        *arguments: Parameters.args,
        **named: Parameters.kwargs,
    ) -> Result:
        """Run a change in the writing thread whose filter may take some time only.

        Raises:
            SearchStoppedError: if the filter takes longer, or nobody waits for the change; nothing
                is changed then.
        """
        works = [current_work.get() or Work()]

        def limited() -> Result:
            with self._limit_filter(works):
                return function(*arguments, **named)

        return await self._changes.run(limited)

    def _limit_filter(self, works: Sequence[Work]) -> AbstractContextManager[None]:
        """Stop the work of this thread when its filter has taken too long."""
        end = time.monotonic() + self.settings.filter_timeout
        return interrupt_when(lambda: time.monotonic() > end or is_all_over(works))

    async def text_query(self, model: HashModel, text: str) -> EncodedQuery:
        """Encode the query of a text with those of other requests."""
        return await self.texts.do(Text(model, text))

    async def picture_query(
        self, model: HashModel, upload: bytes, stages: Stages, *, name: str
    ) -> EncodedQuery:
        """Encode the query of an uploaded picture.

        Raises:
            RefusedError: if it is no picture, damaged, or too large.
        """
        began = time.perf_counter()
        pixels = await self.decode(count_pixels, upload, self.settings.pixels, name=name)
        async with self.pixels.hold(pixels):
            picture = await self.decode(open_query_picture, model, upload, self.settings, name)
            stages.decode += time.perf_counter() - began
            return await self.decode(encode_picture, model, picture)

    async def encode_part(
        self, index: SearchIndex, request: SearchRequest, part: PartName, stages: Stages
    ) -> EncodedQuery:
        """Encode one part of a query: words and pictures in turn with those of other requests."""
        if part == "image":
            assert isinstance(request.image, bytes)
            return await self.picture_query(index.model, request.image, stages, name="image")
        if part in ("text", "minus_text"):
            query = await self.text_query(index.model, str(getattr(request, part)))
            return replace(query, stated={part: query.stated["text"]})
        return await self.look_up(encode_part, index, request, part)

    async def search(
        self, handle: IndexHandle, query: EncodedQuery, plan: SearchPlan
    ) -> SideResult:
        """Search one side."""
        self._past_encoding += 1
        is_heavy = plan.where is not None or count_cost(plan) > LIGHT_COST
        queue = self.heavy_searches if is_heavy else self.searches
        work = current_work.get() or Work()
        try:
            return await queue.do(Search(handle, query, plan, work))
        finally:
            self._past_encoding -= 1

    def _encode_texts(self, jobs: Sequence[Text]) -> list[EncodedQuery | Exception]:
        """Encode texts, those of one model together."""
        self.metrics.together["encode"].observe(len(jobs))
        groups: dict[int, list[int]] = defaultdict(list)
        for place, job in enumerate(jobs):
            groups[id(job.model)].append(place)
        results: dict[int, EncodedQuery | Exception] = {}
        for places in groups.values():
            model = jobs[places[0]].model
            texts = [jobs[place].text for place in places]
            try:
                if len(texts) == 1:
                    outputs = [model.text_output(texts[0])]
                else:
                    outputs = model.text_outputs(texts)
                for place, text, output in zip(places, texts, outputs, strict=True):
                    results[place] = encode_text(model, text, output)
            except Exception as error:  # noqa: BLE001 - those who wait must hear of it
                results |= dict.fromkeys(places, error)
        return [results[place] for place in range(len(jobs))]

    def _search_heavily(self, jobs: Sequence[Search]) -> list[SideResult | Exception]:
        """Search with filters, each in limited time, and for many hits."""
        groups: dict[tuple[int, str | None], list[int]] = defaultdict(list)
        for place, job in enumerate(jobs):
            groups[id(job.handle), job.plan.where].append(place)
        results: dict[int, SideResult | Exception] = {}
        for places in groups.values():
            same = [jobs[place] for place in places]
            with self._limit_filter([job.work for job in same]):
                results |= zip(places, self._search(same), strict=True)
        return [results[place] for place in range(len(jobs))]

    def _search(self, jobs: Sequence[Search]) -> list[SideResult | Exception]:
        """Search; those that want the same of one index together."""
        self.metrics.together["search"].observe(len(jobs))
        results: dict[int, SideResult | Exception] = {}
        groups: dict[tuple[int, SearchPlan], list[int]] = defaultdict(list)
        for place, job in enumerate(jobs):
            groups[id(job.handle), job.plan].append(place)
        for (_, plan), places in groups.items():
            index = jobs[places[0]].handle.index
            try:
                all_hits = find_nearest_of_all(index, [jobs[place].query for place in places], plan)
            except Exception as error:  # noqa: BLE001 - those who wait must hear of it
                results |= dict.fromkeys(places, error)
                continue
            for place, hits in zip(places, all_hits, strict=True):
                try:
                    results[place] = answer_side(index, jobs[place].query, plan, hits)
                except Exception as error:  # noqa: BLE001 - who waits must hear of it
                    results[place] = error
        return [results[place] for place in range(len(jobs))]

    async def finish(self) -> None:
        """Finish what was accepted, then let the threads go."""
        await self.texts.finish()
        await self.searches.finish()
        await self.heavy_searches.finish()
        for executor in (self._encoding, self._searching, self._heavy_searching):
            executor.shutdown(wait=True)
        for lane in (
            self._pictures, self._thumbnails, self._lookups, self._changes, self._conversions,
            self._counts, self._tallies,
        ):  # fmt: skip
            lane.close()


def count_cost(plan: SearchPlan) -> int:
    """Count what the hits of a search cost, in plain hits."""
    hits = LIGHT_COST + 1 if plan.k is None else plan.k
    return (hits + plan.shortlist) * (EXPLAINED_COST if plan.is_explained else 1)


def open_query_picture(
    model: HashModel, upload: bytes, settings: ServiceSettings, name: str
) -> Image.Image:
    """Open an uploaded picture with the pixels that a model's encoder needs; see `open_upload`."""
    return open_upload(upload, settings.pixels, name=name, side=model.encoder.image.picture_side)


def encode_picture(model: HashModel, picture: Image.Image) -> EncodedQuery:
    """Encode a picture as a query."""
    return encode_output(model, model.image_output(picture), "image", {"image": "picture"})


def answer_side(
    index: SearchIndex, query: EncodedQuery, plan: SearchPlan, nearest: QueryHits
) -> SideResult:
    """Make the answer of one side, and measure how long the second stage takes."""
    began = time.perf_counter()
    answer = make_answer(index, query, plan, nearest)
    seconds = time.perf_counter() - began if plan.shortlist else 0.0
    return SideResult(explain_hits(index, query, answer) if plan.is_explained else answer, seconds)
