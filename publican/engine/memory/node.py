"""What the page policy's books are made of: nodes of the tree, and the tables of running slots."""

from __future__ import annotations

from publican.core.ids import PageId, SlotId, TokenId
from publican.core.step import NO_PAGE

Key = tuple[TokenId, ...]


class Node:
    """One page that others may use; its tokens are fewer than a page holds only where it is the end of a sequence.

    Where layers have a window, `windowed_page` is what they hold of the same tokens, or `NO_PAGE` once that was evicted;
    `num_window_locks` counts the slots that hold it, `num_locks` those whose path goes through the node.
    """

    __slots__ = ("children", "num_locks", "num_window_locks", "open_slots", "page", "parent", "tokens", "windowed_page")

    def __init__(self, tokens: Key, page: PageId, parent: Node | None) -> None:
        self.tokens = tokens
        self.page = page
        self.parent = parent
        self.children: dict[Key, Node] = {}
        self.open_slots: dict[SlotId, Table] = {}
        """Running slots whose open page would be a child of this one."""
        self.num_locks = 0
        self.windowed_page = NO_PAGE
        self.num_window_locks = 0


class Table:
    """What one locked slot holds: `nodes` are the leading pages that stand in the tree, the rest of `pages` is its own.

    Where another slot computed the same page first, the tree has that one's: then `pages[i] != nodes[i].page`, and
    `pages[i]` is a duplicate of our own. The same goes for `windowed`, of which the first `num_released` are `NO_PAGE`.
    """

    __slots__ = ("nodes", "num_computed", "num_released", "open_tokens", "pages", "root", "windowed")

    def __init__(self, root: Node, nodes: list[Node], pages: list[PageId], num_computed: int) -> None:
        self.root = root
        self.nodes = nodes
        self.pages = pages
        self.num_computed = num_computed
        self.open_tokens: Key = ()
        """The computed tokens of the open page, the one after `nodes`."""
        self.windowed: list[PageId] = []
        self.num_released = 0

    @property
    def last(self) -> Node:
        """What the open page is a child of."""
        return self.nodes[-1] if self.nodes else self.root
