"""The Bayesian network of the person as a picture: boxes in layers, parents above children (SVG, no dependency)."""

from __future__ import annotations

from html import escape

from ehrsynth.model.summary import ModelSummary, VariableSummary

__all__ = ["network_svg"]

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _LINE = 196, 92, 28, 64, 15
_SHOWN = 3


def network_svg(summary: ModelSummary) -> str:
    """Return an SVG document: a box per variable with its commonest levels, an arrow from each parent."""
    variables = {variable.name: variable for variable in summary.variables}
    layers = _layers(variables)
    widest = max(len(layer) for layer in layers)
    width = widest * (_WIDTH + _GAP_X) + _GAP_X
    height = len(layers) * (_HEIGHT + _GAP_Y) + _GAP_Y
    places: dict[str, tuple[float, float]] = {}
    for depth, layer in enumerate(layers):
        left = (width - len(layer) * (_WIDTH + _GAP_X) + _GAP_X) / 2
        for position, name in enumerate(layer):
            places[name] = (left + position * (_WIDTH + _GAP_X), _GAP_Y + depth * (_HEIGHT + _GAP_Y))
    arrows = [_arrow(places[parent], places[v.name]) for v in summary.variables for parent in v.parents]
    boxes = [_box(variable, *places[variable.name]) for variable in summary.variables]
    title = escape(f"{summary.name}: Bayesian network of the person")
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


def _layers(variables: dict[str, VariableSummary]) -> list[list[str]]:
    """Variables by their longest way from a root; a layer is ordered by the mean place of its parents, then by name."""
    depth: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((of(parent) for parent in variables[name].parents), default=-1)
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
    lines = [f"{escape(level[:18])} {100 * share:.0f} %" for level, share in variable.commonest[:_SHOWN]]
    texts = "".join(
        f'<text x="{x + 10:.0f}" y="{y + 38 + i * _LINE:.0f}" fill="#345">{line}</text>' for i, line in enumerate(lines)
    )
    more = f" ({variable.levels} levels)" if variable.levels > _SHOWN else ""
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="#eef4fa" stroke="#456"/>'
        f'<text x="{x + 10:.0f}" y="{y + 20:.0f}" font-weight="bold">{escape(variable.name)}</text>'
        f'<text x="{x + _WIDTH - 10:.0f}" y="{y + 20:.0f}" text-anchor="end" fill="#789" font-size="10">{more}</text>'
        + texts
    )


def _arrow(parent: tuple[float, float], child: tuple[float, float]) -> str:
    x1, y1 = parent[0] + _WIDTH / 2, parent[1] + _HEIGHT
    x2, y2 = child[0] + _WIDTH / 2, child[1] - 2
    bend = max(30.0, (y2 - y1) / 2)
    path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" fill="none" stroke="#456" stroke-width="1.2" marker-end="url(#head)"/>'
