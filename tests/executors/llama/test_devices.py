from publican.executors.llama import devices
from publican.executors.llama.library import load_library


def test_ggml_names_its_devices():
    names = devices.device_names(load_library(), (devices.CPU,))
    assert len(names) == 1
    assert names[0].startswith("CPU (")


def test_gpus_are_found_only_where_the_build_has_them():
    library = load_library()
    assert bool(devices.gpu_names(library)) == library.llama_supports_gpu_offload()


def test_gpus_that_cannot_be_named_are_still_gpus(monkeypatch):
    library = load_library()
    monkeypatch.setattr(library, "llama_supports_gpu_offload", lambda: True)
    monkeypatch.setattr(devices, "_function", _missing)
    assert devices.gpu_names(library) == ("GPU",)


def _missing(_libraries, name, *_types):
    raise AttributeError(name)


def test_processors_are_counted():
    assert devices.num_processors() >= 1
