"""The Bayesian network of the person as a picture: boxes in layers, parents above children (SVG, no dependency)."""

from __future__ import annotations

from html import escape

from ehrsynth.model.life_course_summary import LifeCourseSummary
from ehrsynth.model.summary import ModelSummary, VariableSummary

__all__ = ["network_svg"]

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _LINE = 250, 92, 28, 64, 15
_SHOWN = 3
_WIDEST = 7
"""Boxes beside each other; more of a layer go into another row."""
_LEVEL, _NAME = _WIDTH - 20 - 40, _WIDTH - 20 - 55
"""Pixels for a level beside its share, and for a name beside the number of levels."""


def network_svg(summary: ModelSummary | LifeCourseSummary) -> str:
    """Return an SVG document: a box per variable with its commonest levels, an arrow from each parent.

    Of a life-course model, whose network has a variable for each of some 200 conditions, the person's own variables and
    the commonest conditions are drawn; what all of these depend on stands in the title instead of an arrow each.
    """
    shown, beside = summary.variables, ""
    undrawn: dict[str, tuple[str, ...]] = {}
    if isinstance(summary, LifeCourseSummary):
        conditions, common = _conditions(summary)
        shown += conditions
        undrawn = {variable.name: common for variable in conditions}
        beside = (
            f", with the {len(conditions)} commonest of its chronic conditions (most depend on {', '.join(common)} too)"
        )
    variables = {variable.name: variable for variable in shown}
    whole = _layers(variables, undrawn)
    layers = [layer[at : at + _WIDEST] for layer in whole for at in range(0, len(layer), _WIDEST)]
    widest = max(len(layer) for layer in layers)
    width = widest * (_WIDTH + _GAP_X) + _GAP_X
    height = len(layers) * (_HEIGHT + _GAP_Y) + _GAP_Y
    places: dict[str, tuple[float, float]] = {}
    for depth, layer in enumerate(layers):
        left = (width - len(layer) * (_WIDTH + _GAP_X) + _GAP_X) / 2
        for position, name in enumerate(layer):
            places[name] = (left + position * (_WIDTH + _GAP_X), _GAP_Y + depth * (_HEIGHT + _GAP_Y))
    arrows = [_arrow(places[parent], places[v.name]) for v in shown for parent in v.parents]
    boxes = [_box(variable, *places[variable.name]) for variable in shown]
    title = escape(f"{summary.name}: Bayesian network of the person{beside}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="12">'
        f"<title>{title}</title>"
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L10 5 L0 10 z" fill="#456"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="#fff"/><text x="14" y="24" font-size="15">{title}</text>'
        + "".join(arrows)
        + "".join(boxes)
        + "</svg>\n"
    )


def _conditions(summary: LifeCourseSummary) -> tuple[tuple[VariableSummary, ...], tuple[str, ...]]:
    """The conditions as variables whose parents are drawn, and the parents that most of them share, which are not."""
    parents = [names for _, _, names in summary.conditions]
    drawn = {variable.name for variable in summary.variables}
    common = tuple(name for name in sorted(drawn) if sum(name in names for names in parents) > len(parents) / 2)
    # `has:` is a condition of the model; those that are drawn bear their label.
    pairs = zip(summary.condition_keys, summary.conditions, strict=True)
    labels = {f"has:{key}": label for key, (label, _, _) in pairs}
    made = tuple(
        VariableSummary(
            name=label,
            levels=2,
            parents=tuple(labels.get(name, name) for name in names if name in labels or name in drawn - set(common)),
            commonest=(("has it", share),),
        )
        for label, share, names in summary.conditions
    )
    return made, common


def _layers(variables: dict[str, VariableSummary], undrawn: dict[str, tuple[str, ...]]) -> list[list[str]]:
    """Variables by their longest way from a root; a layer is ordered by the mean place of its parents, then by name.

    `undrawn` are further parents, which a variable stands below too, without an arrow.
    """
    depth: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depth:
            above = (*variables[name].parents, *undrawn.get(name, ()))
            depth[name] = 1 + max((of(parent) for parent in above), default=-1)
        return depth[name]

    layers: list[list[str]] = [[] for _ in range(1 + max(of(name) for name in variables))]
    for name in sorted(variables):
        layers[depth[name]].append(name)
    order: dict[str, float] = {}
    for layer in layers:
        means = {
            name: sum(order.get(p, 0.0) for p in variables[name].parents) / max(len(variables[name].parents), 1)
            for name in layer
        }
        layer.sort(key=lambda name: (means[name], name))
        order |= {name: (position + 0.5) / len(layer) for position, name in enumerate(layer)}
    return layers


def _box(variable: VariableSummary, x: float, y: float) -> str:
    left, right = x + 10, x + _WIDTH - 10
    texts = "".join(
        f'<text x="{left:.0f}" y="{y + 38 + i * _LINE:.0f}" fill="#345">{escape(_fitted(level, _LEVEL))}</text>'
        f'<text x="{right:.0f}" y="{y + 38 + i * _LINE:.0f}" text-anchor="end" fill="#345">{100 * share:.0f} %</text>'
        for i, (level, share) in enumerate(variable.commonest[:_SHOWN])
    )
    more = f"{variable.levels} levels" if variable.levels > _SHOWN else ""
    # A reader who points at a box sees what did not fit.
    whole = "; ".join(f"{level} {100 * share:.1f} %" for level, share in variable.commonest)
    return (
        f"<g><title>{escape(f'{variable.name}: {whole}')}</title>"
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#eef4fa" stroke="#456"/>'
        f'<text x="{left:.0f}" y="{y + 20:.0f}" font-weight="bold">{escape(_fitted(variable.name, _NAME))}</text>'
        f'<text x="{right:.0f}" y="{y + 20:.0f}" text-anchor="end" fill="#789" font-size="10">{more}</text>'
        + texts
        + "</g>"
    )


def _fitted(text: str, width: float) -> str:
    """Return `text`, or as much of it as fits into `width` pixels, with an ellipsis.

    Wide letters count more; the widths are those of a wide sans-serif face (DejaVu Sans, 12 px), so that others fit.
    """
    room = width
    for place, letter in enumerate(text):
        room -= (
            11.8 if letter in "MW%@mw" else 4.9 if letter in "ijlIft.,;:'()|!- " else 8.4 if letter.isupper() else 7.7
        )
        if room < 0:
            return f"{text[: max(place - 2, 1)].rstrip(' ,;:(')}…"
    return text


def _arrow(parent: tuple[float, float], child: tuple[float, float]) -> str:
    x1, y1 = parent[0] + _WIDTH / 2, parent[1] + _HEIGHT
    x2, y2 = child[0] + _WIDTH / 2, child[1] - 2
    bend = max(30.0, (y2 - y1) / 2)
    path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" fill="none" stroke="#456" stroke-width="1.2" marker-end="url(#head)"/>'
