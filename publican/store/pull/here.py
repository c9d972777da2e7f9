"""What of a repository is here already, by the manifests: for pulls without a network. Blocks on the disk."""

from __future__ import annotations

from pathlib import Path

from publican.core.errors import ModelFileError
from publican.store.checkpoint import CONFIG
from publican.store.hub.reference import HubReference
from publican.store.manifest import MANIFEST, Manifest, read_manifest
from publican.store.quant_names import quant_of


def already_here(reference: HubReference, quant: str | None, file: str | None, models: Path) -> Path:
    """What `open_checkpoint` takes, of the model that is meant.

    Raises:
        ModelFileError: it is not here, or not all of it.
    """
    wanted = file or reference.file
    selector = quant or reference.selector
    for path in sorted(models.glob(f"*/*/{MANIFEST}")):
        manifest = read_manifest(path.parent)
        if manifest is None or manifest.repo.lower() != reference.repo.lower():
            continue
        found = _in(path.parent, manifest, reference.revision, selector, wanted)
        if found is not None:
            return found
    raise ModelFileError(f"{reference.repo} is not on this machine and publican is offline; pull it without --offline.")


def _in(folder: Path, manifest: Manifest, revision: str | None, selector: str | None, wanted: str | None) -> Path | None:
    names = [
        name
        for name, file in manifest.files.items()
        if revision in (None, file.revision, file.commit)
        and (folder / name).is_file()
        and (folder / name).stat().st_size == file.num_bytes
    ]
    weights = [name for name in names if name.endswith((".gguf", ".safetensors"))]
    if wanted is not None:
        weights = [name for name in weights if wanted in (name, manifest.files[name].origin)]
    if selector is not None:
        is_branch = any(manifest.files[name].revision.lower() == selector.lower() for name in weights)
        weights = [name for name in weights if is_branch or quant_of(name).lower() == selector.lower()]
    if not weights or (CONFIG in manifest.files and len(names) < len(manifest.files)):
        return None
    return folder if CONFIG in names else folder / sorted(weights)[0]
