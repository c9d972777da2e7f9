"""Puts calls of the meter into a template's syntax tree, where Jinja's sandbox has no hook of its own.

Loops look at the clock in every turn; what literals, slices and `~` make is accounted for; comparisons, which may take
long, look at the clock. The calls are to attributes of the environment, which no template can name.
"""

from __future__ import annotations

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from publican.host.templating.queues import without_mutation

TICK, MADE, JOINED = "publican_tick", "publican_made", "publican_joined"
_FORBIDDEN: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.ScopedEvalContextModifier: "autoescape",
    nodes.EvalContextModifier: "autoescape",
}


MAX_NODES = 6_000
"""Of a syntax tree; the largest in use has 1,300. Compiling takes more than linear time, in Jinja and in Python."""

_BLOCKS = (nodes.For, nodes.If, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.With, nodes.AssignBlock, nodes.Block)
_MAX_DEPTH = 40
_MAX_LOOP_DEPTH = 15


class UnusableTemplateError(Exception):
    """The template is one that is not even compiled; the text is a clause that says why."""


def instrument(template: nodes.Template) -> nodes.Template:
    """`template` itself, changed.

    Raises:
        UnusableTemplateError: it is too large, or uses a tag that it may not use.
    """
    _check(template)
    changed = _Instrument().visit(without_mutation(template))
    changed.set_environment(template.environment)
    return changed  # type: ignore[no-any-return]


def _check(template: nodes.Template) -> None:
    num_nodes = 0
    pending: list[tuple[nodes.Node, int, int]] = [(template, 0, 0)]
    while pending:
        node, depth, loops = pending.pop()
        num_nodes += 1
        depth, loops = depth + isinstance(node, _BLOCKS), loops + isinstance(node, nodes.For)
        if num_nodes > MAX_NODES:
            raise UnusableTemplateError(f"has more than {MAX_NODES:,} elements")
        if depth > _MAX_DEPTH or loops > _MAX_LOOP_DEPTH:
            raise UnusableTemplateError(f"nests blocks deeper than {_MAX_DEPTH}, or loops deeper than {_MAX_LOOP_DEPTH}")
        if (tag := _FORBIDDEN.get(type(node))) is not None:
            raise UnusableTemplateError(f"uses {tag}, which chat templates may not")
        pending += [(child, depth, loops) for child in node.iter_child_nodes()]


def _call(name: str, arguments: list[nodes.Expr], lineno: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name, lineno=lineno), arguments, [], None, None, lineno=lineno)


class _Instrument(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_call(TICK, [], node.lineno), lineno=node.lineno))
        if node.test is not None:  # runs for each item, the body only for some
            node.test = nodes.And(_call(TICK, [], node.lineno), node.test, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call(JOINED, node.nodes, node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        return _call(MADE, [node], node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _call(MADE, [node], node.lineno) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._literal(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._literal(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        if node.ctx != "load":
            return node
        return self._literal(node)

    def _literal(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return _call(MADE, [node], node.lineno)
