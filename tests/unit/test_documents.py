"""What the documents name is there: routes, paths, links, floors, bounds."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from jobqueue.broker import control, enqueue, flowviews, keys, options, schedulestore
from jobqueue.engine import features, flowcontext, life, saves
from jobqueue.flows import model
from jobqueue.server import jobs
from jobqueue.server.app import ROUTES
from jobqueue.server.context import ServerLimits
from tests.acceptance.documents import ARCHITECTURE, GUIDE, README, blocks, code_spans, sections, without_blocks
from tests.acceptance.reader import ROOT

SECTIONS: Final = sections(GUIDE)
TOPICS: Final = [title for title in SECTIONS if title]
DOCUMENTS: Final = pytest.mark.parametrize("document", [README, GUIDE, ARCHITECTURE], ids=lambda path: path.name)
PLACES: Final = (ROOT / "jobqueue", ROOT / "jobqueue" / "broker" / "lua", ROOT / "config", ROOT)
"""Where a path in a document begins."""


@pytest.mark.parametrize("title", TOPICS)
def test_a_section_of_the_guide_names_its_command_its_route_and_its_bounds(title: str) -> None:
    assert "jobqueue " in SECTIONS[title]
    assert re.search(r"^- (Routes?|Command and routes?)\b", SECTIONS[title], re.MULTILINE)
    assert "\n- Bounds:" in SECTIONS[title]


def canonical(path: str) -> str:
    """A route's path without the patterns of its parts."""
    return re.sub(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}", r"{\1}", path)


API: Final = {f"{route.method} {canonical(route.path)}" for route in ROUTES} - {
    "GET /", "GET /static/{name}", "GET /login",  # the page's
}  # fmt: skip


def routes_of(document: Path) -> set[str]:
    named = [span for span in code_spans(document) if re.match(r"(GET|POST|PUT|DELETE) /", span)]
    return {span.partition("?")[0] for span in named}


@DOCUMENTS
def test_every_route_that_a_document_names_is_one_of_the_server(document: Path) -> None:
    assert routes_of(document) - API == set()


def test_every_route_of_the_server_is_named_in_a_document() -> None:
    assert API - routes_of(README) - routes_of(GUIDE) == set()


@DOCUMENTS
def test_every_path_and_link_of_a_document_is_there(document: Path) -> None:
    named = [
        span for span in code_spans(document) if re.fullmatch(r"\w[\w/*.<>-]*(\.(py|lua|toml|md|json|png)|/)", span)
    ]
    assert named
    for span in named:
        pattern = re.sub(r"<\w+>", "*", span)
        assert any(any(place.glob(pattern)) for place in PLACES), span
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", without_blocks(document))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_links_to_every_section_of_the_guide() -> None:
    anchors = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in TOPICS}
    assert set(re.findall(r"GUIDE\.md#([a-z-]+)", README.read_text("utf-8"))) == anchors


def test_the_floors_of_the_architecture_are_those_that_are_checked() -> None:
    (contract, *_) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (drawn,) = [block for block in blocks(ARCHITECTURE.read_text("utf-8"), "") if block.startswith("cli ")]
    told = [set(re.findall(r"\w+", line.split("  ")[0])) for line in drawn.splitlines()]
    assert told == [set(re.findall(r"\w+", layer)) for layer in contract["layers"]]


BOUNDS: Final = {
    "Enqueueing": [enqueue.MAX_PAYLOAD_BYTES, life.MAX_RESULT_BYTES],
    "Waiting and following": [saves.MAX_PIECE_BYTES, keys.MAX_PIECES, jobs.MAX_WAIT_S],
    "Long jobs": [saves.MAX_CHECKPOINT_BYTES],
    "Flows": [
        model.MAX_STEPS, model.MAX_CHILDREN, model.MAX_ITEMS_BYTES, flowcontext.MAX_CHILD_RESULT_BYTES,
        flowcontext.MAX_STEP_RESULT_BYTES, flowviews.MAX_PAGE,
    ],
    "Priorities and fair sharing": [options.HIGHEST_PRIORITY],
    "Limits": [control.MAX_RULES, options.MAX_KEYS],
    "Schedules": [schedulestore.MAX_SCHEDULES, schedulestore.MAX_OF_A_TENANT],
}  # fmt: skip


@pytest.mark.parametrize("title", BOUNDS)
def test_the_bounds_that_a_section_of_the_guide_names_are_those_of_the_code(title: str) -> None:
    told = SECTIONS[title].partition("Bounds:")[2]
    assert [bound for bound in BOUNDS[title] if not re.search(rf"\b{bound:,}\b", told)] == []


def test_what_the_guide_says_of_times_and_counts_in_words_is_so() -> None:
    assert features.Features().park_s == 15 * 60
    assert keys.FLOW_TTL_MS == keys.BURIED_TTL_MS == 7 * 24 * 3600 * 1000
    assert ServerLimits(max_upload_bytes=1).max_streams == 64
    assert enqueue.MAX_GROUP == 1000


def test_the_figures_of_the_readme_are_those_of_the_run_beside_other_queues_that_is_kept() -> None:
    kept = json.loads((ROOT / "tests" / "bench" / "rivals" / "results.json").read_text("utf-8"))["contenders"]
    here = {name: figures["0"] for name, figures in kept.items()}
    (told,) = re.findall(r"^With Redis on the same machine.*?\n\n", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for figure, shown in (("jobs_per_s", "{:,.0f}"), ("pickup_p50_ms", "{:.2f}"), ("single_per_s", "{:,.0f}")):
        values = {name: figures[figure] for name, figures in here.items() if name != "ours"}
        best = (min if figure.endswith("_ms") else max)(values, key=lambda name: values[name])
        assert best in told.lower()
        numbers = {shown.format(values[best]), shown.format(here["ours"][figure])}
        assert numbers <= set(re.findall(r"[0-9][0-9.,]*[0-9]", told))
