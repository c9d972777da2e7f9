"""What a refusal of the hub means, as one sentence that helps. Pure; called by `store.http.session`."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from publican.store.http.network import Network


def refusal(status: int, headers: Mapping[str, str], url: httpx.URL, network: Network, what: str) -> str:
    """The sentence for a status of 400 or more that will not pass by waiting.

    Args:
        headers: the hub says more in ``X-Error-Code`` and ``X-Error-Message``.
        what: what was asked for: ``org/repo``, or a file's name.
    """
    code, message = headers.get("x-error-code", ""), headers.get("x-error-message", "")
    if not network.is_home(url):
        return f"{url.host} refuses {what} with status {status}; {_ELSEWHERE.get(status, 'look at the address again')}."
    if code == "GatedRepo":
        return _gated(network, what)
    if "Invalid credentials" in message or (status == 401 and network.token and code != "RepoNotFound"):
        return (
            f"The hub does not accept the token that is set; make a new one at {network.endpoint}/settings/tokens "
            "and set HF_TOKEN to it."
        )
    if code == "RevisionNotFound":
        return (
            f"{what} has no such branch, tag or commit; look at {network.endpoint}/{_repo_of(what)}/tree/main for what it has."
        )
    if code == "EntryNotFound":
        return f"There is no file {what} at that revision; look at the repository's list of files."
    if message == "Access to this resource is disabled.":
        return f"The hub has disabled {what}; choose another copy of the model."
    if status in (401, 404) or code == "RepoNotFound":
        how = "and whether its token may read it" if network.token else "or, if it is private or gated, set HF_TOKEN"
        return f"The hub has no public repository {what}; check the spelling, {how}."
    if status == 403:
        said = f" ({message.rstrip('.')})" if message else ""
        page = f"{network.endpoint}/settings/tokens"
        return f"The hub does not let this token read {what}{said}; allow it at {page}, or use another token."
    return f"The hub refuses {what} with status {status}{f' ({message.rstrip(chr(46))[:200]})' if message else ''}; try later."


_ELSEWHERE = {
    401: "it wants a login, which publican does not have for it",
    403: "it wants a login, or the address has expired; copy it anew",
    404: "check the address",
    410: "it is gone from there",
}


def _gated(network: Network, what: str) -> str:
    page = f"{network.endpoint}/{_repo_of(what)}"
    if network.token is None:
        return f"{what} is gated: accept its terms at {page}, then set HF_TOKEN to a token of that account and pull again."
    return f"{what} is gated, and the account of this token may not read it yet: accept the terms at {page} and pull again."


def _repo_of(what: str) -> str:
    """``org/repo`` out of ``org/repo/path/to/file``."""
    return "/".join(what.split("/")[:2])
