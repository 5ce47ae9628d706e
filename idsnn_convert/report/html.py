"""The record as one page: both networks side by side, and every tensor with what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from idsnn_convert.report import summary
from idsnn_convert.report.balanced import balance_section
from idsnn_convert.report.figure import figure
from idsnn_convert.report.markup import Markup, data, joined, tag
from idsnn_convert.report.page import page, scrolled, section
from idsnn_convert.report.record import Record
from idsnn_convert.report.summary import STATUSES, TIMES, Place, dims

WORDS = {"exact": "copied", "looped": "looped", "fresh": "fresh", "added": "added", "unused": "unused"}
"""What a status is called on the page."""

MEANINGS = {
    "exact": "the teacher's values, shape for shape",
    "looped": "approximate: channels repeated, or the leading ones kept",
    "fresh": "not from the teacher",
    "unused": "the teacher's, and the student takes nothing from it",
}

SHOWN = ("stages", "pairs", "tensors", "unused", "neurons")
"""What of the record the page's script reads."""


def mapping_page(record: Record) -> str:
    """A document of its own, without any other file and without network."""
    main = tag(
        "main",
        tag("header", tag("h1", _arrow(summary.title(record))), _subtitle(record), _cautions(record)),
        _coverage(record),
        _network(record) if record.tensors else tag("p", "The student's file does not tell where its tensors came from."),
        None if record.balance is None else balance_section(record.balance),
        _tensors(record),
        tag("div", _notes(record), _facts(record), class_="pair"),
        _repeat(record),
    )
    shown = data(record.model_dump(include=set(SHOWN)), "record")
    return page(summary.title(record), main, shown, styles=("chart.css", "mapping.css"), scripts=("mapping.js",))


def compact(record: Record) -> Markup:
    """A table of the student's blocks, for a notebook."""
    told = " and ".join(summary.coverage_told(record))
    return joined(tag("p", tag("b", _arrow(summary.title(record))), tag("br"), f"From the teacher: {told}."), _blocks(record))


def _arrow(text: str) -> str:
    return text.replace("->", "→")


def _subtitle(record: Record) -> Markup:
    return tag("p", tag("code", record.teacher.file), f" · {summary.student_told(record)}", class_="muted")


def _cautions(record: Record) -> list[Markup]:
    failed = [f"{check.name}: {check.found}, wanted {check.wanted}" for check in record.checks if not check.passed]
    told = [f"{caution.reason}. {caution.advice}" for caution in record.cautions]
    return [tag("p", tag("b", "Caution "), text, class_="caution") for text in (*failed, *told)]


def _coverage(record: Record) -> Markup:
    """Two bars: of tensors and of their values, how much was copied, looped, left fresh."""
    found, rows = summary.places(record), record.coverage
    tensors = {status: sum(place.count(status) for place in found) for status in STATUSES}
    values = {status: sum(place.values(status) for place in found) for status in STATUSES}
    return section(
        "From the teacher",
        tag("p", tag("strong", f"{rows.percent_of_parameters:g} %"), " of the student's values", class_="big"),
        _share("values", values, rows.of_parameters),
        _share("tensors", tensors, rows.of_tensors),
        class_="coverage",
    )


def _share(what: str, counts: dict[str, int], whole: int) -> Markup:
    told = [f"{count:,} {WORDS[status]}" for status, count in counts.items() if count]
    x, bars = 0.0, []
    for status, count in counts.items():
        if count:
            bars.append(tag("rect", x=f"{x:.3f}%", width=f"{100 * count / whole:.3f}%", height=14, class_=f"share {status}"))
            x += 100 * count / whole
    bar = tag("svg", bars, width="100%", height=14, role="img", aria_label=f"Of {whole:,} {what}: {', '.join(told)}")
    legend = [
        tag("span", _swatch(status), f"{count:,} {WORDS[status]}", class_="key") for status, count in counts.items() if count
    ]
    return tag("div", tag("p", f"{whole:,} {what}: ", legend), bar, class_="shares")


def _swatch(status: str) -> Markup:
    return tag("svg", tag("rect", width=10, height=10, rx=2, class_=f"share {status}"), width=10, height=10, aria_hidden="true")


def _network(record: Record) -> Markup:
    names = [tag("span", record.teacher.arch), tag("span", f"spiking {record.target}")]
    return section(
        "Blocks",
        tag("p", "Select a block to see its tensors, its neurons and where they come from.", class_="muted", id="hint"),
        _filters(record),
        tag(
            "div",
            tag("div", tag("div", names, class_="names"), figure(record), class_="card"),
            tag("div", tag("p", "No block is selected.", class_="muted"), id="panel", class_="card", role="region", tabindex=0,
                aria_label="The selected block"),
            tag("p", id="said", class_="unseen", role="status"),
            class_="side",
        ),
    )  # fmt: skip


def _filters(record: Record) -> Markup:
    counts = {status: sum(tensor.status == status for tensor in record.tensors) for status in STATUSES}
    counts["unused"] = len(record.unused)
    made = [
        tag("button", _swatch(status), f"{WORDS[status]} ", tag("b", f"{count:,}"), type="button", aria_pressed="false",
            data_filter=status, title=MEANINGS[status], disabled=not count)
        for status, count in counts.items()
    ]  # fmt: skip
    every = tag("button", "all", type="button", aria_pressed="true", data_filter="")
    search = tag("input", type="search", id="search", placeholder="name", aria_label="Only tensors whose name contains")
    return tag("div", every, made, search, role="group", aria_label="Show tensors", class_="filters")


def _tensors(record: Record) -> Markup:
    """Every tensor of the student, then what of the teacher is not used."""
    head = tag("tr", [tag("th", name, scope="col") for name in ("student", "shape", "teacher", "shape", "how", "why")])
    rows = [
        _row(
            row.status, (row.target, row.target_shape), (row.source, row.source_shape), row.reason or repeats_told(row.repeats)
        )
        for row in record.tensors
    ]
    rows += [_row("added", (row.target, row.target_shape), (None, None), summary.ADDED) for row in record.added]
    rows += [_row("unused", (None, None), (row.source, row.shape), row.reason) for row in record.unused]
    told = tag("p", f"{len(rows):,} tensors", id="count", class_="muted", role="status")
    table = tag("table", tag("thead", head), tag("tbody", rows), id="tensors")
    return section("Tensors", told, scrolled("All tensors", table))


_Named = tuple[str | None, Sequence[int] | None]


def _row(status: str, student: _Named, teacher: _Named, why: str) -> Markup:
    cells = [
        (tag("td", None if name is None else tag("code", name)), tag("td", dims(shape or (), TIMES)))
        for name, shape in (student, teacher)
    ]
    return tag("tr", cells, tag("td", _swatch(status), WORDS[status], class_="status"), tag("td", why), data_status=status)


def repeats_told(repeats: Sequence[int] | None) -> str:
    """How often the teacher's channels occur; nothing where each does once."""
    axes = zip(("output channels", "input channels"), repeats or (), strict=False)
    return ", ".join(f"{axis} {TIMES}{times}" for axis, times in axes if times > 1)


def _notes(record: Record) -> Markup:
    """The blocks in short, and the reasons."""
    lists = []
    for title, named in (
        ("Fresh, drawn by the seed", summary.fresh(record)),
        ("Added since", summary.added(record)),
        ("Of the teacher, not used", summary.unused(record)),
    ):
        if named:
            lines = [tag("li", tag("code", summary.names_told(names)), f": {why}") for names, why in summary.grouped(named)]
            lists += [tag("h3", title), tag("ul", lines)]
    return section("Block by block", scrolled("The student's blocks", _blocks(record)), lists)


def _blocks(record: Record) -> Markup:
    titles = ("block", "from", *(WORDS[status] for status in STATUSES), "values")
    head = tag("tr", [tag("th", title, scope="col", class_="number" if i > 1 else None) for i, title in enumerate(titles)])
    return tag("table", tag("thead", head), tag("tbody", [_block(place) for place in summary.places(record)]))


def _block(place: Place) -> Markup:
    counts = [str(place.count(status) or "") for status in STATUSES]
    return tag(
        "tr",
        tag("th", place.name, scope="row"),
        tag("td", place.source or "-"),
        [tag("td", told, class_="number") for told in (*counts, f"{place.values():,}")],
    )


def _facts(record: Record) -> Markup:
    teacher = record.teacher
    size = dims(teacher.input_shape, TIMES)
    checks = [
        tag("li", tag("span", "✓ " if check.passed else "✗ ", class_="mark"), f"{check.name}: {check.found}")
        for check in record.checks
    ]
    return section(
        "Facts",
        _list(
            ("Teacher", [f"{teacher.family}, {teacher.form}", f"images of {size}, {teacher.classes} classes"]),
            ("Told by images", summary.evidence_told(teacher)),
            ("Assumed", teacher.assumptions),
            ("Neurons", [told for told, _ in summary.alike(record.neurons)]),
            ("Settings", [summary.settings_told(record)]),
            ("Images normalised by", [summary.normalisation_told(record)]),
            ("Training", [summary.training_told(record.training)]),
        ),
        [tag("h3", "Checked before it was written"), tag("ul", checks, class_="checks")] if checks else None,
    )


def _repeat(record: Record) -> Markup:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    student = record.student
    return section(
        "To do it again",
        tag("pre", record.command, tabindex=0, aria_label="Command") if record.command else None,
        _list(
            ("Made by", [versions] if versions else []),
            (f"sha256 of {record.teacher.file}", [tag("code", record.teacher.sha256)]),
            (f"sha256 of {student.name}" if student else "", [tag("code", student.sha256)] if student else []),
        ),
        tag("p", "Every tensor's sha256 is shown with its block.", class_="muted"),
    )


def _list(*rows: tuple[str, Iterable[object]]) -> Markup:
    told = [(name, list(lines)) for name, lines in rows]
    return tag("dl", [(tag("dt", name), [tag("dd", line) for line in lines]) for name, lines in told if lines])
