"""The prefix cache of paged memory: a tree of pages, each known by all the tokens up to its end.

    root ── page "You are a b" ── page "artender. T" ── page "he user say"      full pages: shared, never written again
                                            └────────── page "he use"           the last page of a finished sequence
                                            └· · · · ·  page "he re…"           the open page of a running one

Full pages are matched whole. Inside the first page that does not match whole, the child that agrees longest is copied
(exllamav2 does the same), so a regenerated answer computes one token and not the rest of a page. Every adapter has a tree of
its own.

Unlocked pages wait in one list, longest unused first. A slot locks the whole path from the root and unlocks it tail
first, so a page always stands before its parent in the list, and evicting from the front never orphans a child
(vLLM frees blocks in the same order). Layers with a sliding window have pages of their own (`windows`) on the same tree.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from publican.core.ids import PageId, SlotId, TokenId
from publican.core.step import NO_ADAPTER, NO_PAGE, CopyPage, Extend, Free, MemoryOp, Truncate
from publican.engine.memory.agreement import common_length
from publican.engine.memory.node import Key, Node, Table
from publican.engine.memory.protocol import Lease
from publican.engine.memory.windows import WindowedPages, Windows

_MAX_CHILDREN_COMPARED = 64


class _Match(NamedTuple):
    """The nodes that match whole; the page that agrees longest with what follows, the windowed one beside it, and how long."""

    path: list[Node]
    source: PageId
    windowed_source: PageId
    num_copied: int


class PageCache:
    """The page policy. See `PrefixCache` for what the methods promise.

    Args:
        windows: how layers with a sliding window keep theirs, if there are such.
    """

    def __init__(self, page_len: int, num_pages: int, num_slots: int, windows: Windows | None = None) -> None:
        self.page_len = page_len
        self.num_pages = num_pages
        self._roots: dict[int, Node] = {}
        self._free = [PageId(i) for i in reversed(range(num_pages))]
        self._unlocked: OrderedDict[Node, None] = OrderedDict()
        self._free_slots = [SlotId(i) for i in reversed(range(num_slots))]
        self._tables: dict[SlotId, Table] = {}
        self._ops: list[MemoryOp] = []
        self._windows = None if windows is None else WindowedPages(page_len, windows, self._ops)

    # --- matching

    def match(self, tokens: Sequence[TokenId], adapter: int = NO_ADAPTER) -> int:
        found = self._find(tokens, self._root(adapter))
        return len(found.path) * self.page_len + found.num_copied

    def _root(self, adapter: int) -> Node:
        return self._roots.setdefault(adapter, Node((), PageId(-1), None))

    def _find(self, tokens: Sequence[TokenId], root: Node) -> _Match:
        usable = len(tokens) - 1  # the last token must be computed, for its logits
        path: list[Node] = []
        node = root
        end = self.page_len
        while end <= usable:
            child = node.children.get(tuple(tokens[end - self.page_len : end]))
            if child is None:
                break
            path.append(child)
            node = child
            end += self.page_len
        if self._windows is not None and (num_usable := self._windows.num_usable(path)) < len(path):
            return _Match(path[:num_usable], NO_PAGE, NO_PAGE, 0)  # what follows lacks its window, so no copy of it is whole
        start = len(path) * self.page_len
        tail = tuple(tokens[start : min(start + self.page_len, usable)])
        return _Match(path, *self._longest_agreement(node, tail))

    def _longest_agreement(self, node: Node, tail: Key) -> tuple[PageId, PageId, int]:
        best, best_windowed, best_len = NO_PAGE, NO_PAGE, 0
        if not tail:
            return best, best_windowed, best_len
        children = islice(reversed(node.children.values()), _MAX_CHILDREN_COMPARED)
        closed = ((c.tokens, c.page, c.windowed_page) for c in children)
        running = ((t.open_tokens, t.pages[len(t.nodes)], self._open_windowed(t)) for t in node.open_slots.values())
        for source in (closed, running):
            for tokens, page, windowed in source:
                length = common_length(tokens, tail)
                if length > best_len and (self._windows is None or windowed != NO_PAGE):
                    best, best_windowed, best_len = page, windowed, length
        return best, best_windowed, best_len

    def _open_windowed(self, table: Table) -> PageId:
        return NO_PAGE if self._windows is None else table.windowed[len(table.nodes)]

    # --- the life of a slot

    def lock(self, tokens: Sequence[TokenId], reuse: bool = True, adapter: int = NO_ADAPTER) -> Lease | None:
        if not self._free_slots:
            return None
        root = self._root(adapter)
        path, source, windowed_source, num_copied = self._find(tokens, root) if reuse else _Match([], NO_PAGE, NO_PAGE, 0)
        for node in path:
            self._lock_node(node)
        slot = self._free_slots.pop()
        table = Table(root, path, [node.page for node in path], len(path) * self.page_len)
        self._tables[slot] = table
        if path:
            self._ops.append(Extend(slot, tuple(table.pages)))
        if self._windows is not None:
            self._windows.lock(slot, table)
        if num_copied and self._copy(slot, table, source, windowed_source):
            table.num_computed += num_copied
            self._open(slot, table, tuple(tokens[table.num_computed - num_copied : table.num_computed]))
        return Lease(slot, table.num_computed)

    def _copy(self, slot: SlotId, table: Table, source: PageId, windowed_source: PageId) -> bool:
        """Append a copy of a page to a slot; False if there is no room but the page's own."""
        windowed_page = NO_PAGE
        if self._windows is not None:
            windowed_page = self._windows.take_page(spare=windowed_source)
            if windowed_page == NO_PAGE:
                return False
        page = self._take_page(spare=source)
        if page is None:
            if self._windows is not None:
                self._windows.give_back(windowed_page)
            return False
        self._ops += [CopyPage(source, page), Extend(slot, (page,))]
        table.pages.append(page)
        if self._windows is not None:
            self._ops += [CopyPage(windowed_source, windowed_page, True), Extend(slot, (windowed_page,), True)]
            table.windowed.append(windowed_page)
        return True

    def reserve(self, slot: SlotId, num_tokens: int) -> bool:
        table = self._tables[slot]
        num_missing = max(0, -(-num_tokens // self.page_len) - len(table.pages))
        num_windowed = 0 if self._windows is None else self._windows.num_missing(table, num_tokens)
        if num_missing > len(self._free) + len(self._unlocked):
            return False
        if self._windows is not None and num_windowed > self._windows.num_room:
            return False
        if num_missing:
            pages = tuple(self._must_take_page() for _ in range(num_missing))
            table.pages.extend(pages)
            self._ops.append(Extend(slot, pages))
        if self._windows is not None and num_windowed:
            self._windows.extend(slot, table, num_windowed)
        return True

    def num_spare_tokens(self, slot: SlotId, num_tokens: int) -> int:
        table = self._tables[slot]
        spare = self.num_pages * self.page_len - self._num_locked_pages * self.page_len - (num_tokens - table.num_computed)
        if self._windows is None:
            return spare
        return min(spare, (self._windows.num_room - self._windows.num_missing(table, num_tokens)) * self.page_len)

    def insert(self, slot: SlotId, tokens: Sequence[TokenId], num_computed: int) -> None:
        table = self._tables[slot]
        table.num_computed = num_computed
        num_full = num_computed // self.page_len
        if num_full > len(table.nodes):
            self._close(slot, table)
            for index in range(len(table.nodes), num_full):
                key = tuple(tokens[index * self.page_len : (index + 1) * self.page_len])
                self._add_full_page(table, index, key)
        if self._windows is not None:
            self._windows.advance(slot, table)
        self._open(slot, table, tuple(tokens[num_full * self.page_len : num_computed]))

    def pass_over(self, slot: SlotId, num_computed: int) -> None:
        table = self._tables[slot]
        table.num_computed = num_computed
        if self._windows is not None:
            self._windows.advance(slot, table)

    def _add_full_page(self, table: Table, index: int, key: Key) -> None:
        parent = table.last
        node = parent.children.get(key)
        if node is None:
            node = Node(key, table.pages[index], parent)
            parent.children[key] = node
            node.num_locks = 1
        else:
            self._lock_node(node)
        table.nodes.append(node)
        if self._windows is not None:
            self._windows.add(table, index, node)

    def truncate(self, slot: SlotId, num_tokens: int) -> int:
        table = self._tables[slot]
        if num_tokens >= table.num_computed:
            return table.num_computed
        self._close(slot, table)
        num_full = num_tokens // self.page_len
        if num_full < len(table.nodes):  # that page is in the tree and must not be written again: go back to its beginning
            num_tokens = num_full * self.page_len
        if self._windows is not None and not self._windows.can_go_back(table, num_tokens):
            num_tokens = num_full = 0
        open_tokens = table.open_tokens[: num_tokens - num_full * self.page_len]
        self._drop_pages(table, -(-num_tokens // self.page_len), num_full)
        table.num_computed = num_tokens
        self._ops.append(Truncate(slot, num_tokens))
        self._open(slot, table, open_tokens)
        return num_tokens

    def discard(self, slot: SlotId) -> None:
        """Nothing to do: whoever goes on from here writes over it, and nobody reads so far before."""

    def unlock(self, slot: SlotId) -> None:
        table = self._tables.pop(slot)
        self._close(slot, table)
        index = len(table.nodes)
        if table.open_tokens and index < len(table.pages):
            parent = table.last
            if table.open_tokens not in parent.children:
                leaf = Node(table.open_tokens, table.pages[index], parent)
                parent.children[table.open_tokens] = leaf
                leaf.num_locks = 1
                table.nodes.append(leaf)
                if self._windows is not None:
                    self._windows.add(table, index, leaf)
        self._drop_pages(table, 0, 0)
        self._ops.append(Free(slot))
        self._free_slots.append(slot)

    def _drop_pages(self, table: Table, num_pages: int, num_nodes: int) -> None:
        """Let go of the pages from `num_pages` on and of the nodes from `num_nodes` on, tail first."""
        if self._windows is not None:
            self._windows.drop(table, num_pages)
        for index in reversed(range(num_nodes, len(table.pages))):
            if index < len(table.nodes):
                node = table.nodes.pop()
                owns = node.page == table.pages[index]
                self._unlock_node(node)
                if owns:
                    continue
            if index >= num_pages:
                self._free.append(table.pages[index])
        del table.pages[num_pages:]

    # --- pages and locks

    def evict(self, num_tokens: int) -> int:
        num_evicted = 0
        while self._unlocked and num_evicted < num_tokens:
            self._free.append(self._evict_one())
            num_evicted += self.page_len
        return num_evicted if self._windows is None else max(num_evicted, self._windows.evict(num_tokens))

    def shrink(self) -> None:
        raise AssertionError("pages are counted exactly: an executor of pages cannot run out where the books see room")

    def _take_page(self, spare: PageId) -> PageId | None:
        """A page to copy `spare` into; None if that would cost `spare` itself."""
        if self._free:
            return self._free.pop()
        first = next(iter(self._unlocked), None)
        if first is None or first.page == spare:
            return None
        return self._evict_one()

    def _must_take_page(self) -> PageId:
        return self._free.pop() if self._free else self._evict_one()

    def _evict_one(self) -> PageId:
        node, _ = self._unlocked.popitem(last=False)
        assert node.parent is not None
        assert not node.children
        del node.parent.children[node.tokens]
        if self._windows is not None:
            self._windows.forget(node)
        return node.page

    def _lock_node(self, node: Node) -> None:
        if node.num_locks == 0:
            del self._unlocked[node]
        node.num_locks += 1

    def _unlock_node(self, node: Node) -> None:
        node.num_locks -= 1
        if node.num_locks == 0:
            self._unlocked[node] = None

    def _open(self, slot: SlotId, table: Table, tokens: Key) -> None:
        table.open_tokens = tokens
        if tokens:
            table.last.open_slots[slot] = table

    def _close(self, slot: SlotId, table: Table) -> None:
        table.last.open_slots.pop(slot, None)

    # --- the rest

    def drain(self) -> tuple[MemoryOp, ...]:
        ops = tuple(self._ops)
        self._ops.clear()
        return ops

    @property
    def _num_locked_pages(self) -> int:
        return self.num_pages - len(self._free) - len(self._unlocked)

    @property
    def _is_window_tighter(self) -> bool:
        """Whether less is left of the windowed pages than of the others."""
        windows = self._windows
        return windows is not None and self._num_locked_pages * windows.num_pages <= windows.num_locked_pages * self.num_pages

    @property
    def num_locked_tokens(self) -> int:
        if self._windows is not None and self._is_window_tighter:
            return self._windows.num_locked_pages * self.page_len
        return self._num_locked_pages * self.page_len

    @property
    def num_total_tokens(self) -> int:
        if self._windows is not None and self._is_window_tighter:
            return self._windows.num_pages * self.page_len
        return self.num_pages * self.page_len

    def check(self) -> None:
        locks: dict[Node, int] = {}
        owned: list[PageId] = list(self._free)
        for slot, table in self._tables.items():
            assert len(table.nodes) <= len(table.pages)
            assert table.num_computed <= len(table.pages) * self.page_len
            parent = table.root
            for index, (page, node) in enumerate(zip(table.pages, table.nodes, strict=False)):
                assert node.parent is parent, f"slot {slot}: page {index} hangs in the wrong place"
                assert len(node.tokens) == self.page_len
                locks[node] = locks.get(node, 0) + 1
                if node.page != page:
                    owned.append(page)
                parent = node
            owned.extend(table.pages[len(table.nodes) :])
            assert (slot in parent.open_slots) == bool(table.open_tokens)
        for node in (node for root in self._roots.values() for node in self._walk(root)):
            owned.append(node.page)
            assert node.num_locks == locks.get(node, 0), "a lock was lost"
            assert (node in self._unlocked) == (node.num_locks == 0)
            assert len(node.tokens) == self.page_len or not node.children
        assert sorted(owned) == list(range(self.num_pages)), "a page was lost or is held twice"
        if self._windows is not None:
            self._windows.check(list(self._tables.values()), [n for root in self._roots.values() for n in self._walk(root)])
        order = {node: i for i, node in enumerate(self._unlocked)}
        for node, at in order.items():
            assert all(order[child] < at for child in node.children.values()), "a page would be evicted before its child"

    def _walk(self, node: Node) -> Iterable[Node]:
        for child in node.children.values():
            yield child
            yield from self._walk(child)
