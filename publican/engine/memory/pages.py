"""The prefix cache of paged memory: a tree of pages, each known by all the tokens up to its end.

    root ── page "You are a b" ── page "artender. T" ── page "he user say"      full pages: shared, never written again
                                            └────────── page "he use"           the last page of a finished sequence
                                            └· · · · ·  page "he re…"           the open page of a running one

Full pages are matched whole. Inside the first page that does not match whole, the child that agrees longest is copied
(exllamav2 does the same), so a regenerated answer computes one token and not the rest of a page. Every adapter has a tree of
its own.

Unlocked pages wait in one list, longest unused first. A slot locks the whole path from the root and unlocks it tail
first, so a page always stands before its parent in the list, and evicting from the front never orphans a child
(vLLM frees blocks in the same order).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice

from publican.core.ids import PageId, SlotId, TokenId
from publican.core.step import NO_ADAPTER, CopyPage, Extend, Free, MemoryOp, Truncate
from publican.engine.memory.agreement import common_length
from publican.engine.memory.protocol import Lease

_MAX_CHILDREN_COMPARED = 64

Key = tuple[TokenId, ...]


class _Node:
    """One page that others may use; its tokens are fewer than a page holds only where it is the end of a sequence."""

    __slots__ = ("children", "num_locks", "open_slots", "page", "parent", "tokens")

    def __init__(self, tokens: Key, page: PageId, parent: _Node | None) -> None:
        self.tokens = tokens
        self.page = page
        self.parent = parent
        self.children: dict[Key, _Node] = {}
        self.open_slots: dict[SlotId, _Table] = {}
        """Running slots whose open page would be a child of this one."""
        self.num_locks = 0


class _Table:
    """What one locked slot holds: `nodes` are the leading pages that stand in the tree, the rest of `pages` is its own.

    Where another slot computed the same page first, the tree has that one's: then `pages[i] != nodes[i].page`, and
    `pages[i]` is a duplicate of our own.
    """

    __slots__ = ("nodes", "num_computed", "open_tokens", "pages", "root")

    def __init__(self, root: _Node, nodes: list[_Node], pages: list[PageId], num_computed: int) -> None:
        self.root = root
        self.nodes = nodes
        self.pages = pages
        self.num_computed = num_computed
        self.open_tokens: Key = ()
        """The computed tokens of the open page, the one after `nodes`."""

    @property
    def last(self) -> _Node:
        """What the open page is a child of."""
        return self.nodes[-1] if self.nodes else self.root


class PageCache:
    """The page policy. See `PrefixCache` for what the methods promise."""

    def __init__(self, page_len: int, num_pages: int, num_slots: int) -> None:
        self.page_len = page_len
        self.num_pages = num_pages
        self._roots: dict[int, _Node] = {}
        self._free = [PageId(i) for i in reversed(range(num_pages))]
        self._unlocked: OrderedDict[_Node, None] = OrderedDict()
        self._free_slots = [SlotId(i) for i in reversed(range(num_slots))]
        self._tables: dict[SlotId, _Table] = {}
        self._ops: list[MemoryOp] = []

    # --- matching

    def match(self, tokens: Sequence[TokenId], adapter: int = NO_ADAPTER) -> int:
        path, _, num_copied = self._find(tokens, self._root(adapter))
        return len(path) * self.page_len + num_copied

    def _root(self, adapter: int) -> _Node:
        return self._roots.setdefault(adapter, _Node((), PageId(-1), None))

    def _find(self, tokens: Sequence[TokenId], root: _Node) -> tuple[list[_Node], PageId | None, int]:
        """The pages that match whole, and the page that agrees longest with what follows, and how long."""
        usable = len(tokens) - 1  # the last token must be computed, for its logits
        path: list[_Node] = []
        node = root
        end = self.page_len
        while end <= usable:
            child = node.children.get(tuple(tokens[end - self.page_len : end]))
            if child is None:
                break
            path.append(child)
            node = child
            end += self.page_len
        start = len(path) * self.page_len
        tail = tuple(tokens[start : min(start + self.page_len, usable)])
        page, length = self._longest_agreement(node, tail)
        return path, page, length

    def _longest_agreement(self, node: _Node, tail: Key) -> tuple[PageId | None, int]:
        best: PageId | None = None
        best_len = 0
        if not tail:
            return best, best_len
        closed = ((c.tokens, c.page) for c in islice(reversed(node.children.values()), _MAX_CHILDREN_COMPARED))
        running = ((t.open_tokens, t.pages[len(t.nodes)]) for t in node.open_slots.values())
        for source in (closed, running):
            for tokens, page in source:
                length = common_length(tokens, tail)
                if length > best_len:
                    best, best_len = page, length
        return best, best_len

    # --- the life of a slot

    def lock(self, tokens: Sequence[TokenId], reuse: bool = True, adapter: int = NO_ADAPTER) -> Lease | None:
        if not self._free_slots:
            return None
        root = self._root(adapter)
        path, source, num_copied = self._find(tokens, root) if reuse else ([], None, 0)
        for node in path:
            self._lock_node(node)
        slot = self._free_slots.pop()
        table = _Table(root, path, [node.page for node in path], len(path) * self.page_len)
        self._tables[slot] = table
        if path:
            self._ops.append(Extend(slot, tuple(table.pages)))
        if source is not None and (page := self._take_page(spare=source)) is not None:
            self._ops.append(CopyPage(source, page))
            self._ops.append(Extend(slot, (page,)))
            table.pages.append(page)
            table.num_computed += num_copied
            self._open(slot, table, tuple(tokens[table.num_computed - num_copied : table.num_computed]))
        return Lease(slot, table.num_computed)

    def reserve(self, slot: SlotId, num_tokens: int) -> bool:
        table = self._tables[slot]
        num_missing = -(-num_tokens // self.page_len) - len(table.pages)
        if num_missing <= 0:
            return True
        if num_missing > len(self._free) + len(self._unlocked):
            return False
        pages = tuple(self._must_take_page() for _ in range(num_missing))
        table.pages.extend(pages)
        self._ops.append(Extend(slot, pages))
        return True

    def insert(self, slot: SlotId, tokens: Sequence[TokenId], num_computed: int) -> None:
        table = self._tables[slot]
        table.num_computed = num_computed
        num_full = num_computed // self.page_len
        if num_full > len(table.nodes):
            self._close(slot, table)
            for index in range(len(table.nodes), num_full):
                key = tuple(tokens[index * self.page_len : (index + 1) * self.page_len])
                self._add_full_page(table, index, key)
        self._open(slot, table, tuple(tokens[num_full * self.page_len : num_computed]))

    def _add_full_page(self, table: _Table, index: int, key: Key) -> None:
        parent = table.last
        node = parent.children.get(key)
        if node is None:
            node = _Node(key, table.pages[index], parent)
            parent.children[key] = node
            node.num_locks = 1
        else:
            self._lock_node(node)
        table.nodes.append(node)

    def truncate(self, slot: SlotId, num_tokens: int) -> int:
        table = self._tables[slot]
        if num_tokens >= table.num_computed:
            return table.num_computed
        self._close(slot, table)
        num_full = num_tokens // self.page_len
        if num_full < len(table.nodes):  # that page is in the tree and must not be written again: go back to its beginning
            num_tokens = num_full * self.page_len
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
                leaf = _Node(table.open_tokens, table.pages[index], parent)
                parent.children[table.open_tokens] = leaf
                leaf.num_locks = 1
                table.nodes.append(leaf)
        self._drop_pages(table, 0, 0)
        self._ops.append(Free(slot))
        self._free_slots.append(slot)

    def _drop_pages(self, table: _Table, num_pages: int, num_nodes: int) -> None:
        """Let go of the pages from `num_pages` on and of the nodes from `num_nodes` on, tail first."""
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
        return num_evicted

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
        return node.page

    def _lock_node(self, node: _Node) -> None:
        if node.num_locks == 0:
            del self._unlocked[node]
        node.num_locks += 1

    def _unlock_node(self, node: _Node) -> None:
        node.num_locks -= 1
        if node.num_locks == 0:
            self._unlocked[node] = None

    def _open(self, slot: SlotId, table: _Table, tokens: Key) -> None:
        table.open_tokens = tokens
        if tokens:
            table.last.open_slots[slot] = table

    def _close(self, slot: SlotId, table: _Table) -> None:
        table.last.open_slots.pop(slot, None)

    # --- the rest

    def drain(self) -> tuple[MemoryOp, ...]:
        ops, self._ops = tuple(self._ops), []
        return ops

    @property
    def num_locked_tokens(self) -> int:
        return (self.num_pages - len(self._free) - len(self._unlocked)) * self.page_len

    @property
    def num_total_tokens(self) -> int:
        return self.num_pages * self.page_len

    def check(self) -> None:
        locks: dict[_Node, int] = {}
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
        order = {node: i for i, node in enumerate(self._unlocked)}
        for node, at in order.items():
            assert all(order[child] < at for child in node.children.values()), "a page would be evicted before its child"

    def _walk(self, node: _Node) -> Iterable[_Node]:
        for child in node.children.values():
            yield child
            yield from self._walk(child)
