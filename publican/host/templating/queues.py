"""Lists that a template changes in a namespace, told without changing any: the sandbox lets nothing be changed. Pure.

``{% set _ = ns.ids.append(x) %}`` and ``{% set first = ns.ids.pop(0) %}`` are how some templates (Kimi's) keep a queue, and in
a sandbox that is immutable they fail. Here they become what other templates write for the same: ``ns.ids = ns.ids + [x]``, and
``first = ns.ids[0]`` before ``ns.ids = ns.ids[1:]``. It is done before a template is compiled, so what is made is metered like
anything else. What else may have been the same list does not see it, and what is taken from an empty one is undefined.
"""

from __future__ import annotations

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

_FIRST, _LAST = 0, -1


def without_mutation(template: nodes.Template) -> nodes.Template:
    """`template` itself, changed."""
    changed = _Rewrite().visit(template)
    changed.set_environment(template.environment)
    return changed  # type: ignore[no-any-return]


class _Rewrite(NodeTransformer):
    def visit_Assign(self, node: nodes.Assign) -> nodes.Node | list[nodes.Node]:
        self.generic_visit(node)
        call = node.node
        if not isinstance(call, nodes.Call) or call.kwargs or call.dyn_args is not None or call.dyn_kwargs is not None:
            return node
        method = call.node
        if not isinstance(method, nodes.Getattr) or not isinstance(node.target, nodes.Name):
            return node
        held = method.node
        if not isinstance(held, nodes.Getattr) or not isinstance(held.node, nodes.Name):
            return node
        if method.attr == "append" and len(call.args) == 1:
            return _appended(node, held, held.node.name, call.args[0])
        if method.attr == "pop" and len(call.args) <= 1:
            at = call.args[0].as_const() if call.args and isinstance(call.args[0], nodes.Const) else _LAST
            if at == _FIRST or not call.args:
                return _popped(node, held, held.node.name, at)
        return node


def _appended(node: nodes.Assign, held: nodes.Getattr, name: str, value: nodes.Expr) -> list[nodes.Node]:
    line = node.lineno
    longer = nodes.Add(held, nodes.List([value], lineno=line), lineno=line)
    nothing = nodes.Assign(node.target, nodes.Const(None, lineno=line), lineno=line)
    return [nodes.Assign(nodes.NSRef(name, held.attr, lineno=line), longer, lineno=line), nothing]


def _popped(node: nodes.Assign, held: nodes.Getattr, name: str, at: int) -> list[nodes.Node]:
    line = node.lineno
    taken = nodes.Assign(node.target, nodes.Getitem(held, nodes.Const(at, lineno=line), "load", lineno=line), lineno=line)
    start, stop = (nodes.Const(1, lineno=line), None) if at == _FIRST else (None, nodes.Const(_LAST, lineno=line))
    again = nodes.Getattr(nodes.Name(name, "load", lineno=line), held.attr, "load", lineno=line)
    rest = nodes.Getitem(again, nodes.Slice(start, stop, None, lineno=line), "load", lineno=line)
    return [taken, nodes.Assign(nodes.NSRef(name, held.attr, lineno=line), rest, lineno=line)]
