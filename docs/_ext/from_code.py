"""Reference pages drawn from the code, so that they cannot disagree with it.

``{command} NAME``: a command's help, its options grouped as its help groups them. ``{recipe-settings}``: the sections and
keys of a recipe; ``{recipes}``: those that are shipped. ``{rows} MODULE:TABLE``: a table's names and the first sentence on
each. ``{record}``: the parts of mapping.json. ``{architectures}``: the targets by name. ``{teacher-forms}``: the files that
are told apart. And a page for every module, from its docstrings, under reference/modules.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from docutils.parsers.rst import Parser
from docutils.utils import new_document
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = {
    "idsnn_convert": "The front door: commands, Python interface, reports.",
    "passes": "Teacher file to spiking checkpoint: pure graph work without data, device or training.",
    "runtime": "Checkpoint to spiking network: neurons, kernels, losses, data, training, evaluation.",
}


class CommandHelp(SphinxDirective):
    """``{command} train``: usage, what it reads, writes and costs, its options under their headings, its examples."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        command: Any = import_module(f"idsnn_convert.commands.{name}").command
        context = click.Context(command, info_name=f"idsnn {name}")
        usage = command.get_usage(context).removeprefix("Usage: ")
        found: list[nodes.Node] = [_literal(usage, "text")]
        found += [nodes.paragraph(text=_one_line(part)) for part in inspect.cleandoc(command.help).split("\n\n")]
        options = [param for param in command.get_params(context) if isinstance(param, click.Option)]
        rows = {option.name: row for option in options if (row := option.get_help_record(context)) is not None}
        for heading, names in {**command.sections, "Other": None}.items():
            chosen = [rows.pop(key) for key in (names or list(rows))]
            found += [nodes.rubric(text=heading), self._options(name, chosen)]
        heading, _, text = (command.epilog or "").replace("\b", "").strip().partition("\n")
        if text:
            found += [nodes.rubric(text=heading.rstrip(":")), _literal(inspect.cleandoc("\n" + text), "text")]
        return found

    def _options(self, command: str, rows: Iterable[tuple[str, str]]) -> nodes.definition_list:
        listed = nodes.definition_list(classes=["options"])
        for names, told in rows:
            term = nodes.term("", "", nodes.literal(text=names))
            flags = re.findall(r"--[\w-]+", names)
            term["ids"] = [nodes.make_id(f"{command}{flag}") for flag in flags[:1]]
            listed += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph(text=_one_line(told))))
        return listed


class FromText(SphinxDirective, ABC):
    """A directive that gives reStructuredText, in which docstrings are written."""

    @abstractmethod
    def lines(self) -> Iterable[str]:
        """The text, line by line."""

    def run(self) -> list[nodes.Node]:
        holder = new_document(self.env.docname, self.state.document.settings)
        holder.reporter = self.state.document.reporter
        Parser().parse("\n".join(self.lines()), holder)
        return holder.children


class RecipeSettings(FromText):
    """``{recipe-settings}``: every section of a recipe, what its docstring says, and its keys with their defaults."""

    def lines(self) -> Iterator[str]:
        from idsnn_convert.runtime.recipe import Recipe

        for name, section in Recipe.model_fields.items():
            kind: Any = section.annotation
            if not hasattr(kind, "model_fields"):
                continue
            yield from ("", f".. rubric:: [{name}]", "", inspect.cleandoc(kind.__doc__ or ""), "")
            yield from _table("Key", "Default", "Values")
            for key, field in kind.model_fields.items():
                yield from _row(f"``{key}``", f"``{_toml(field.default)}``", _values(kind.__annotations__[key], field))


class Recipes(FromText):
    """``{recipes}``: those that are shipped."""

    def lines(self) -> Iterator[str]:
        from idsnn_convert.runtime.recipe import load_recipe, shipped

        yield from _table("Name", "Epochs", "What it is")
        for name in shipped():
            recipe = load_recipe(name)
            yield from _row(f"``{name}``", str(recipe.run.epochs), recipe.description)


class Rows(FromText):
    """``{rows} idsnn_convert.passes.match:RULES``: the names in a table, and what each is in its own words."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        module, _, table = self.arguments[0].partition(":")
        yield from _table("Name", "What it is")
        for name, value in getattr(import_module(module), table).items():
            yield from _row(f"``{name}``", value if isinstance(value, str) else _first(inspect.getdoc(value) or ""))


class TeacherForms(FromText):
    """``{teacher-forms}``: the kinds of file that are told apart, and whether they are read."""

    def lines(self) -> Iterator[str]:
        from idsnn_convert.passes.load.forms import FORMS

        yield from _table("A file that is", "is")
        for form in FORMS.values():
            yield from _row(form.what, "read" if form.loader else "refused, with the way out")


class Architectures(FromText):
    """``{architectures}``: the targets that have a name."""

    def lines(self) -> Iterator[str]:
        from idsnn_convert.passes.chain.archs import CHAINS
        from idsnn_convert.passes.resnet.archs import ARCHS

        yield from _table("Residual network", "Block", "Blocks a stage", "Channels a stage gives")
        for name, arch in ARCHS.items():
            numbers = ("\N{NON-BREAKING HYPHEN}".join(map(str, row)) for row in (arch.depths, arch.outputs))
            yield from _row(f"``{name}``", arch.block, *numbers)
        yield from _table("Chain of layers", "Its layers", "Linear layers")
        for name, chain in CHAINS.items():
            yield from _row(f"``{name}``", chain.features, ", ".join(map(str, chain.hidden)) or "the classifier alone")


class RecordParts(FromText):
    """``{record}``: the objects of mapping.json with their keys."""

    def lines(self) -> Iterator[str]:
        from idsnn_convert.report.record import schema

        whole = schema()
        for name, part in {"the document": whole, **whole["$defs"]}.items():
            yield from ("", f".. rubric:: {name}", "", part.get("description", ""), "")
            yield from _table("Key", "Type", "Meaning")
            for key, value in part["properties"].items():
                optional = "" if key in part.get("required", ()) else " (may be missing)"
                yield from _row(f"``{key}``", _json_type(value) + optional, value.get("description", ""))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _literal(text: str, language: str) -> nodes.literal_block:
    return nodes.literal_block(text, text, language=language)


def _table(*heads: str) -> Iterator[str]:
    yield from ("", ".. list-table::", "   :header-rows: 1", "   :class: reference", "")
    yield from _row(*heads)


def _row(*cells: str) -> Iterator[str]:
    for index, cell in enumerate(cells):
        yield f"   {'*' if index == 0 else ' '} - {_one_line(cell)}"


def _first(text: str) -> str:
    """Its first paragraph."""
    return text.partition("\n\n")[0]


def _toml(value: Any) -> str:
    return "not set" if value is None else json.dumps(list(value) if isinstance(value, tuple) else value)


def _values(annotation: str, field: Any) -> str:
    """What a key takes: the choices of a Literal, else its type and bounds."""
    if choices := re.findall(r'"([^"]+)"', annotation):
        return ("list of " if "tuple" in annotation else "") + ", ".join(f"``{choice}``" for choice in choices)
    told = {"bool": "true or false", "Count": "whole number, at least 1", "Share": "from 0, below 1", "AtLeast0": "at least 0"}
    told |= {"Above0": "above 0", "tuple[Above0": "list of numbers above 0"}
    for word, meaning in told.items():
        if word in annotation:
            return meaning
    least = re.search(r"ge=(\d+)", annotation)
    most = re.search(r"le=(\d+)", annotation)
    above = re.search(r"gt=(\d+)", annotation)
    kind = "whole number" if "int" in annotation else "number"
    bounds = [f"above {above[1]}"] if above else [f"from {least[1]}"] if least else []
    return ", ".join([kind, *bounds, *([f"to {most[1]}"] if most else [])])


def _json_type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return value["$ref"].rpartition("/")[2]
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_json_type(option) for option in value["anyOf"]))
    if "const" in value:
        return f"``{value['const']}``"
    if "enum" in value:
        return ", ".join(f"``{one}``" for one in value["enum"])
    if value.get("type") == "array":
        return f"list of {_json_type(value['items'])}"
    return str(value.get("type", "any"))


def _modules(room: str) -> Iterator[tuple[str, str]]:
    """Dotted name of each module of a room, and what it says of itself."""
    for path in sorted((ROOT / room).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] in ("__main__", "errors") and len(parts) == 2 and room == "idsnn_convert":
            continue
        name = ".".join(part for part in parts if part != "__init__")
        told = _first(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
        yield name if room == "idsnn_convert" else f"idsnn_convert.{name}", told


def write_module_pages(app: Sphinx) -> None:
    """One page a module; outside the navigation, which would otherwise hold 200 rows on every page."""
    folder = Path(app.srcdir) / "reference" / "modules"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {}
    for room, told in ROOMS.items():
        rows = []
        modules = dict(_modules(room))
        for name, first in modules.items():
            title = f"{name}\n{'=' * len(name)}"
            below = ", ".join(other.removeprefix(f"{name}.") for other in modules if other.startswith(f"{name}."))
            options = f"   :members:\n   :ignore-module-all:\n   :exclude-members: {below}\n"
            pages[f"{name}.rst"] = f":orphan:\n\n{title}\n\n.. automodule:: {name}\n{options}"
            rows += _row(f":doc:`{name} <{name}>`", re.sub(r":\w+:`([^`]+)`", r"``\1``", first).rstrip(":"))
        table = "\n".join((*_table("Module", "What it is"), *rows))
        title = f"Modules of {room}"
        pages[f"room-{room}.rst"] = f"{title}\n{'=' * len(title)}\n\n{told}\n\n.. currentmodule:: idsnn_convert\n{table}\n"
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        place = folder / name
        if not place.exists() or place.read_text(encoding="utf-8") != text:
            place.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command", CommandHelp)
    app.add_directive("recipe-settings", RecipeSettings)
    app.add_directive("recipes", Recipes)
    app.add_directive("rows", Rows)
    app.add_directive("teacher-forms", TeacherForms)
    app.add_directive("architectures", Architectures)
    app.add_directive("record", RecordParts)
    app.connect("builder-inited", write_module_pages)
    return {"parallel_read_safe": True}
