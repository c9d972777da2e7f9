"""What the HTTP front can be told. Made by `cli` out of the settings; read on the event loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from publican.core.presets import Presets


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """How to behave towards whoever connects.

    Attributes:
        loopback_only: nobody but this machine can connect; then only loopback names are accepted as Host, because a web
            page can make its own name mean 127.0.0.1 (DNS rebinding).
        allowed_hosts: further names that this server answers to; ``*`` is any.
        key_required: whoever asks must show a key. Then pages of any origin may ask too: they have no key unless their
            user gave them one.
        cors_origins: web pages that may ask although no key is required, as ``https://chat.example``; ``*`` is any.
            Pages on loopback and pages of the server's own name always may.
        max_body_bytes: longer requests are refused with 413.
        max_prompts: prompts in one request (`prompt` as a list).
        commit_s: how long a stream waits for its first event before it sends its headers. An error that comes sooner
            gets the right status; one that comes later arrives in the stream.
        ping_s: the longest silence on a stream, and between the spaces that keep a waiting answer alive.
        patience_s: how long a non-streaming answer may be silent before its status is sent with a first space.
        presets: the sampler presets that a request may name.
        registry: where the metrics of this server are collected.
    """

    loopback_only: bool = True
    allowed_hosts: tuple[str, ...] = ()
    key_required: bool = False
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 16 << 20
    max_prompts: int = 128
    commit_s: float = 3.0
    ping_s: float = 12.0
    patience_s: float = 25.0
    presets: Presets = field(default_factory=Presets)
    registry: CollectorRegistry = field(default_factory=lambda: CollectorRegistry(auto_describe=False))
