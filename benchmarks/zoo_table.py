"""The zoo's results as one page of Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

FAMILY = (
    "ResNets are: every model of timm's `resnet`, `resnetv2`, `res2net`, `resnest`, `sknet`, `senet` and `tresnet`, and those "
    "of its `byobnet` and `nfnet` with `resne` in their name; torchvision's `resnet`; `ResNetForImageClassification` of "
    "transformers; and the CIFAR families. A name stands for an architecture; tags of weights (ig, ssl, swsl, a1_in1k, ...) do "
    "not count anew. Networks whose blocks attend (timm's `byoanet`: BoTNet, HaloNet, LambdaNet) are no ResNets here."
)

LONGEST = 240
"""How much of a reason or error is shown."""


def table(facts: Mapping[str, Any]) -> str:
    """``benchmarks/results/zoo.md`` from what ``zoo.json`` holds."""
    rows = facts["rows"]
    family = [row for row in rows if not row["relative"]]
    relatives = [row for row in rows if row["relative"]]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    parts = [
        "# The zoo",
        f"Written by `benchmarks/zoo.py`, which says what each column is. {versions}; {facts['machine']['processor']}, one "
        f"thread, {facts['runs']} run, seed {facts['seed']}, random weights.",
        FAMILY,
        *_summary(family, facts["resnets"]),
        "## ResNets",
        _grid(
            "model|from|input|parameters|sites|neurons, `same`|blocks|difference|of `resnet18`'s tensors|s|MiB",
            [_line(row) for row in family if "same" in row and "neurons" in row["same"]],
        ),
        "## ResNets that are refused",
        _grid("model|from|node|reason", [_refusal(row) for row in family if not _converts(row)]),
        "## No ResNets",
        "One or two of each kind. What converts consists of residual blocks, or is taken node by node with target `same`.",
        _grid("model|`same`|`resnet18`", [_relative(row) for row in relatives]),
        "## Other converters on the same ResNets",
        *_peers(family),
    ]
    return "\n\n".join(parts) + "\n"


def _converts(row: Row) -> bool:
    return all("neurons" in row.get(target, {}) for target in ("same", "resnet18"))


def _summary(family: Sequence[Row], resnets: int) -> list[str]:
    done = [row for row in family if _converts(row)]
    exact = [row for row in done if row["same"]["neurons"] == row["sites"]]
    zero = [row for row in done if row["difference"] == 0]
    worst = max((row["relative_difference"] for row in done), default=0)
    by_source = Counter(row["source"].partition(" ")[0].rstrip(",") for row in family)
    share = 100 * len(done) / max(len(family), 1)
    left = f" Of the {resnets} in the zoo, {resnets - len(family)} have not been measured yet." if len(family) < resnets else ""
    return [
        f"{len(done)} of {len(family)} ResNets convert ({share:.1f} %), to `resnet18` and to `same`: "
        + ", ".join(f"{source} {count}" for source, count in by_source.items())
        + f".{left}",
        f"{len(zero)} of these canonical graphs give the model's logits bit for bit; the largest difference is {worst:.1e} of "
        f"the largest logit. {len(exact)} have exactly one neuron for each activation call that torch's dispatcher counts.",
    ]


def _grid(head: str, rows: Sequence[Sequence[Any]]) -> str:
    columns = head.split("|")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _line(row: Row) -> list[Any]:
    student = row["resnet18"]
    taken = f"{student['from_teacher']} of {student['tensors']}" if "tensors" in student else "refused"
    blocks = "-".join(map(str, row["blocks"])) or "none"
    size = f"{row['input'][-1]}, {row['form']}"
    sites, neurons = row["sites"], row["same"]["neurons"]
    what = [row["model"], row["source"], size, f"{row['parameters']:,}", sites, neurons, blocks, f"{row['difference']:.0e}"]
    return [*what, taken, f"{row['seconds']:.0f}", row["rss_mib"]]


def _refusal(row: Row) -> list[str]:
    why = row.get("refused") or row.get("resnet18", {}).get("refused") or row.get("same", {}).get("refused")
    if why is None:
        return [row["model"], row["source"], "", row.get("failed", "")]
    place = f"`{why['node']}`" + (f" ({why['place']})" if why["place"] else "") if why["node"] else ""
    return [row["model"], row["source"], place, _one_line(why["reason"])]


def _relative(row: Row) -> list[str]:
    return [row["model"], *(_outcome(row, target) for target in ("same", "resnet18"))]


def _outcome(row: Row, target: str) -> str:
    why = row.get("refused") or row.get(target, {}).get("refused")
    if why is not None:
        where = f" at `{why['node']}`" if why["node"] else ""
        return f"refused: {_one_line(why['reason'])}{where}"
    if target not in row:
        return row.get("failed", "")
    found = row[target]
    return f"{found['neurons']} neurons" + (f" for {row['sites']} sites" if target == "same" else "")


def _peers(family: Sequence[Row]) -> list[str]:
    names = [name for name in ("spikingjelly", "sinabs") if any(name in row.get("peers", {}) for row in family)]
    lines = []
    for name in names:
        found = [(row, row["peers"][name]) for row in family if name in row.get("peers", {})]
        runs = [(row, peer) for row, peer in found if peer.get("forward")]
        whole = [(row, peer) for row, peer in runs if not peer["missed"] and not peer["shared"]]
        tried = [peer for _, peer in runs if peer["reload"] is not None]
        lines.append(
            [
                name,
                len(found),
                sum(peer["converts"] for _, peer in found),
                len(runs),
                sum(bool(peer["missed"]) for _, peer in runs),
                sum(bool(peer["shared"]) for _, peer in runs),
                len(whole),
                f"{sum(peer['called'] for _, peer in runs)} of {sum(row['sites'] for row, _ in runs)}",
                f"{sum(not reload for reload in (peer['reload'] for peer in tried))} of {len(tried)}",
            ]
        )
    done = [row for row in family if _converts(row)]
    neurons = sum(row["same"]["neurons"] for row in done)
    exact = sum(row["same"]["neurons"] == row["sites"] for row in done)
    sites = sum(row["sites"] for row in done)
    ran = sum(row["same"]["runs"] for row in done)
    ours = ["ours, `same`", len(family), len(done), ran, 0, 0, exact, f"{neurons} of {sites}", f"{len(done)} of {len(done)}"]
    head = (
        "converter|models|convert|run|leave activations as they are, silently|share one neuron between calls|"
        "every call its neuron|neurons of activation calls, where it runs|read back"
    )
    errors = [_errors(name, [row["peers"][name] for row in family if name in row.get("peers", {})]) for name in names]
    told = (
        "SpikingJelly: `ann2snn.Converter(RateCodingRecipe(dataloader, mode='max'))`; sinabs: `from_model`. Each gets the "
        "module in memory, where it has less than 500 million parameters. Read back: `torch.save` of the whole module and "
        "`torch.load` with pickle allowed, tried below 30 million parameters; ours: one safetensors file, read without pickle."
    )
    return [told, _grid(head, [ours, *lines]), *errors]


def _errors(name: str, found: Sequence[Row]) -> str:
    counts = Counter(_one_line(peer["error"]) for peer in found if "error" in peer)
    told = "; ".join(f"{count} times `{error}`" for error, count in counts.most_common(6))
    return f"What {name} raised: {told or 'nothing'}."


def _one_line(text: str) -> str:
    return re.sub(r" at 0x\w+", "", " ".join(text.split())).replace("|", "\\|")[:LONGEST]
