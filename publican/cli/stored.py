"""Models by the names that people type: `default` is one of them. Reads the models folder; quick to import."""

from __future__ import annotations

from pathlib import Path

from publican.core.errors import ModelFileError, ModelNotFound, SettingsError
from publican.store.catalogue import StoredModel, find_model, list_models
from publican.store.default_model import DEFAULT_MODEL


def find_here(name: str, folder: Path, allow_path: bool = False) -> StoredModel:
    """What `find_model` finds, and the default model as `default`, unless another is called so.

    Raises:
        ModelNotFound: none is meant, or several are. ModelFileError: it is the default model, and not here.
        SettingsError: the name is empty.
    """
    if not name.strip():
        raise SettingsError("The name of the model is empty; 'publican list' has the names of those that are here.")
    models = list_models(folder)
    if name.lower() != "default" or any(model.name.lower() == "default" for model in models):
        return find_model(name, folder, allow_path)
    try:
        return find_model(DEFAULT_MODEL.file_name, folder)
    except ModelNotFound:
        raise ModelFileError("The default model is not here; get it with: publican pull default.") from None


def find_or_only(name: str | None, folder: Path) -> StoredModel:
    """The model of that name or path; without a name the only one that is here, or else the default model.

    Raises as above, and SettingsError if several are here and nobody says which.
    """
    models = list_models(folder)
    if name is None and len(models) == 1:
        return models[0]
    if name is None and models and not any(model.path.name == DEFAULT_MODEL.file_name for model in models):
        raise SettingsError(f"Several models are here ({', '.join(model.name for model in models)}); say which one.")
    return find_here("default" if name is None else name, folder, allow_path=True)
