"""The pages of layers with a sliding window: a slot holds those that its next token can look back at, and little more.

    tokens of a slot     0 ……………………… n - slack - window …………………………… n …… n + ahead
    pages of all layers  ################################################
    windowed pages       . . . . . . . . . . . . #########################

What a slot gives back while it runs stays in the tree as long as nobody needs the room, what went longest ago leaving first;
so an answer is regenerated as cheaply as ever, until there is no room. A beginning can be reused where the window before its
end is still there (vLLM's manager of sliding windows asks for the same). The tree itself, and the pages of the other layers,
are `PageCache`'s, which calls this. A model all of whose layers have the window has such other pages too: they hold nothing,
and are many.

Several prompts that share a beginning need more room when they part than they took. So `reserve` may fail for one that runs,
and the scheduler then puts the newest back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from publican.core.executor import WINDOW_SLACK_LEN
from publican.core.ids import PageId, SlotId
from publican.core.step import NO_PAGE, Extend, MemoryOp, Release
from publican.engine.memory.node import Node, Table


@dataclass(frozen=True, slots=True)
class Windows:
    """How layers with a window keep their pages.

    Attributes:
        num_pages: of theirs.
        window: how far back they look, the token itself included.
        chunk_len: the most tokens that a step computes of one slot.
        slack_len: tokens behind the window that a slot keeps: so far a text can be taken back without computing it anew.
    """

    num_pages: int
    window: int
    chunk_len: int
    slack_len: int = WINDOW_SLACK_LEN


class WindowedPages:
    """The books of windowed pages. `ops`: where operations go, in order with those of the other pages."""

    def __init__(self, page_len: int, windows: Windows, ops: list[MemoryOp]) -> None:
        self.page_len, self.num_pages = page_len, windows.num_pages
        self._config, self._ops = windows, ops
        self._free = [PageId(i) for i in reversed(range(windows.num_pages))]
        self._unlocked: OrderedDict[Node, None] = OrderedDict()

    def _first_needed(self, num_tokens: int) -> int:
        """The first page that the token after `num_tokens` looks back at."""
        return max(0, num_tokens + 1 - self._config.window) // self.page_len

    @property
    def num_room(self) -> int:
        """Pages that can be had."""
        return len(self._free) + len(self._unlocked)

    @property
    def num_locked_pages(self) -> int:
        return self.num_pages - self.num_room

    # --- matching

    def num_usable(self, path: list[Node]) -> int:
        """How many leading pages of `path` a sequence can begin with: the window before their end must be there."""
        best = begin = 0
        for i, node in enumerate(path):
            if node.windowed_page == NO_PAGE:
                begin = i + 1
            if begin <= self._first_needed((i + 1) * self.page_len):
                best = i + 1
        return best

    # --- the life of a slot

    def lock(self, slot: SlotId, table: Table) -> None:
        """A slot begins with the nodes of `table`."""
        first = min(self._first_needed(table.num_computed), len(table.nodes))
        for node in table.nodes[first:]:
            self._lock_node(node)
        table.num_released = first
        table.windowed = [NO_PAGE] * first + [node.windowed_page for node in table.nodes[first:]]
        if table.windowed:
            self._ops.append(Extend(slot, tuple(table.windowed), windowed=True))

    def num_missing(self, table: Table, num_tokens: int) -> int:
        """Pages that a slot lacks to go on towards `num_tokens` by a step, at the beginning by a whole window."""
        reach = max(table.num_computed, self._config.window) + self._config.chunk_len
        return max(0, -(-min(num_tokens, reach) // self.page_len) - len(table.windowed))

    def extend(self, slot: SlotId, table: Table, num_pages: int) -> None:
        """Give a slot pages, which must be to be had."""
        pages = tuple(self.take_page() for _ in range(num_pages))
        table.windowed.extend(pages)
        self._ops.append(Extend(slot, pages, windowed=True))

    def add(self, table: Table, index: int, node: Node) -> None:
        """The slot's page `index` was filled, and is `node`'s now, or a duplicate of it."""
        if node.windowed_page == NO_PAGE:
            node.windowed_page = table.windowed[index]
        elif node.num_window_locks == 0:
            del self._unlocked[node]
        node.num_window_locks += 1

    def advance(self, slot: SlotId, table: Table) -> None:
        """Give back what the slot's window has left behind."""
        first = self._first_needed(table.num_computed - self._config.slack_len)
        if first <= table.num_released:
            return
        for index in range(table.num_released, first):
            self._let_go(table, index)
            table.windowed[index] = NO_PAGE
        table.num_released = first
        self._ops.append(Release(slot, first))

    def can_go_back(self, table: Table, num_tokens: int) -> bool:
        """Whether the slot still holds the window before that length."""
        return self._first_needed(num_tokens) >= table.num_released

    def drop(self, table: Table, num_pages: int) -> None:
        """Let go of the pages from `num_pages` on, tail first. The slot's nodes are still as they were."""
        for index in reversed(range(max(num_pages, table.num_released), len(table.windowed))):
            self._let_go(table, index)
        del table.windowed[num_pages:]
        table.num_released = min(table.num_released, num_pages)

    def _let_go(self, table: Table, index: int) -> None:
        page = table.windowed[index]
        if index >= len(table.nodes):
            self._free.append(page)
            return
        node = table.nodes[index]
        if node.windowed_page != page:
            self._free.append(page)
        node.num_window_locks -= 1
        if node.num_window_locks == 0:
            self._unlocked[node] = None

    def _lock_node(self, node: Node) -> None:
        if node.num_window_locks == 0:
            del self._unlocked[node]
        node.num_window_locks += 1

    # --- pages

    def take_page(self, spare: PageId = NO_PAGE) -> PageId:
        """A page, at the cost of what was given back longest ago; `NO_PAGE` if that would be `spare`, or there is none."""
        if self._free:
            return self._free.pop()
        node = next(iter(self._unlocked), None)
        if node is None or node.windowed_page == spare:
            return NO_PAGE
        return self._evict_one()

    def give_back(self, page: PageId) -> None:
        """A page that was taken, and not used."""
        self._free.append(page)

    def evict(self, num_tokens: int) -> int:
        """As `PrefixCache` says."""
        num_evicted = 0
        while self._unlocked and num_evicted < num_tokens:
            self._free.append(self._evict_one())
            num_evicted += self.page_len
        return num_evicted

    def _evict_one(self) -> PageId:
        node, _ = self._unlocked.popitem(last=False)
        page, node.windowed_page = node.windowed_page, NO_PAGE
        return page

    def forget(self, node: Node) -> None:
        """`node`, which no slot's path goes through, leaves the tree."""
        if node.windowed_page != NO_PAGE:
            del self._unlocked[node]
            self._free.append(node.windowed_page)
            node.windowed_page = NO_PAGE

    # --- the rest

    def check(self, tables: list[Table], nodes: list[Node]) -> None:
        """Raises AssertionError if the books do not balance, given all tables and all nodes of the tree."""
        owned = list(self._free)
        locks: dict[Node, int] = {}
        for table in tables:
            assert len(table.windowed) <= len(table.pages)
            assert all(page == NO_PAGE for page in table.windowed[: table.num_released])
            assert NO_PAGE not in table.windowed[table.num_released :]
            assert self._first_needed(table.num_computed) >= table.num_released, "a slot lacks what it looks back at"
            for index in range(table.num_released, len(table.windowed)):
                page, node = table.windowed[index], table.nodes[index] if index < len(table.nodes) else None
                if node is not None:
                    locks[node] = locks.get(node, 0) + 1
                if node is None or node.windowed_page != page:
                    owned.append(page)
        for node in nodes:
            assert node.num_window_locks == locks.get(node, 0), "a lock of a windowed page was lost"
            assert (node in self._unlocked) == (node.windowed_page != NO_PAGE and node.num_window_locks == 0)
            if node.windowed_page != NO_PAGE:
                owned.append(node.windowed_page)
        assert sorted(owned) == list(range(self.num_pages)), "a windowed page was lost or is held twice"
