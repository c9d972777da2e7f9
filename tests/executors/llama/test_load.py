import logging
import random
import struct

import pytest

from publican.core.errors import ModelFileError, OutOfMemory, SettingsError, UnsupportedModel
from publican.core.executor import Cells
from publican.core.model import Rope, RopeScaling
from publican.core.step import Row, StepPlan
from publican.executors.llama import LlamaConfig, load
from publican.executors.llama.load import _context_error, _load_error
from tests.executors.llama.conftest import tiny_config
from tests.executors.llama.tiny import CONTEXT_LEN, VOCAB_SIZE, write_llama


def test_what_was_asked_for_is_what_info_says(open_tiny):
    info = open_tiny(num_cells=600).info
    assert (info.loader, info.device, info.vocab_size) == ("llama", "cpu (1 thread)", VOCAB_SIZE)
    assert (info.context_len, info.num_slots, info.max_batch_tokens, info.max_logits) == (256, 8, 128, 40)
    assert info.memory == Cells(768)  # rounded up to 256
    assert info.hidden_size == 64


def test_nothing_asked_for_is_the_models_own_context(tiny_models):
    executor = load(tiny_models["llama"])
    assert executor.info.context_len == CONTEXT_LEN
    assert executor.info.memory == Cells(CONTEXT_LEN)
    executor.close()


def test_memory_is_never_less_than_a_context(open_tiny):
    assert open_tiny(num_cells=1, context_len=512).info.memory.num_tokens == 512


def test_a_recurrent_model_cannot_rewind_and_its_memory_is_its_slots(open_tiny):
    assert open_tiny("mamba").info.memory == Cells(8 * 256, can_rewind=False)


def test_a_window_halves_the_slots_there_can_be(tiny_models):
    with pytest.raises(SettingsError, match="128"):
        load(tiny_models["gemma"], tiny_config(num_slots=129))
    load(tiny_models["gemma"], tiny_config(num_slots=128, max_logits=1)).close()


@pytest.mark.parametrize("kv_dtype", ["f16", "bf16", "auto"])
def test_keys_and_values_may_be_smaller(open_tiny, kv_dtype):
    assert open_tiny(kv_dtype=kv_dtype).execute(StepPlan((Row(0, [1, 2], 0, 1),))).logits.shape == (1, VOCAB_SIZE)


def test_settings_that_the_model_does_not_fit_say_why(tiny_models):
    with pytest.raises(UnsupportedModel, match=r"q8_0.*n_embd_head_k=16"):
        load(tiny_models["llama"], tiny_config(kv_dtype="q8", flash_attention=None))
    with pytest.raises(UnsupportedModel, match="requires flash_attn"):
        load(tiny_models["llama"], tiny_config(kv_dtype="q8"))
    with pytest.raises(SettingsError, match="16 devices"):
        load(tiny_models["llama"], tiny_config(tensor_split=(1.0,) * 17))


def test_rope_from_outside_changes_positions(open_tiny):
    plan = StepPlan((Row(0, list(range(20)), 0, 1),))
    own = open_tiny().execute(plan).logits.copy()
    same = open_tiny(rope=Rope(10_000.0, 16)).execute(plan).logits.copy()
    scaled = open_tiny(rope=Rope(10_000.0, 16, RopeScaling("linear", factor=4.0))).execute(plan).logits.copy()
    yarn = open_tiny(rope=Rope(10_000.0, 16, RopeScaling("yarn", factor=4.0, original_context_len=16))).execute(plan).logits
    assert abs(own - same).max() == 0
    assert abs(own - scaled).max() > 1e-2
    assert abs(own - yarn).max() > 1e-3


# --- files


def broken_files(whole: bytes) -> dict[str, bytes]:
    noise = random.Random(0)
    return {
        "empty": b"",
        "noise": noise.randbytes(5_000),
        "noise behind the magic": b"GGUF" + noise.randbytes(5_000),
        "a pickle": b"PK\x03\x04" + bytes(100),
        "cut in the header": whole[:300],
        "cut in the weights": whole[: len(whole) // 2],
        "absurd counts": b"GGUF" + struct.pack("<Iqq", 3, 1 << 60, 1 << 60) + whole[24:],
        "negative counts": b"GGUF" + struct.pack("<Iqq", 3, -1, -1) + whole[24:],
    }


@pytest.mark.parametrize("kind", list(broken_files(b"")))
def test_a_broken_file_is_one_sentence(tiny_models, tmp_path, kind):
    path = tmp_path / "broken.gguf"
    path.write_bytes(broken_files(tiny_models["llama"].read_bytes())[kind])
    with pytest.raises(ModelFileError, match=r"broken\.gguf cannot be loaded: .*[^.]\.$"):
        load(path)


def test_a_missing_file_and_a_folder_are_no_model_files(tmp_path):
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(ModelFileError, match="There is no model file"):
            load(path)


def test_an_unknown_architecture_is_not_the_files_fault(tmp_path):
    with pytest.raises(UnsupportedModel, match="unknown model architecture: 'fromage'"):
        load(write_llama(tmp_path / "f.gguf", "fromage"))


def test_a_model_that_is_no_decoder_is_refused(tmp_path, monkeypatch, tiny_models):
    import llama_cpp.llama_cpp as library

    monkeypatch.setattr(library, "llama_model_has_encoder", lambda model: True)
    with pytest.raises(UnsupportedModel, match="not a decoder"):
        load(tiny_models["llama"], tiny_config())


def test_a_model_without_a_cache_is_refused(monkeypatch, tiny_models):
    import llama_cpp.llama_cpp as library

    monkeypatch.setattr(library, "llama_get_memory", lambda context: None)
    with pytest.raises(UnsupportedModel, match="token by token"):
        load(tiny_models["llama"], tiny_config())


def test_running_out_of_memory_is_told_from_a_bad_file(tmp_path):
    path = tmp_path / "m.gguf"
    assert isinstance(_load_error(path, "unable to allocate CUDA0 buffer"), OutOfMemory)
    assert isinstance(_load_error(path, "invalid value for main_gpu: 7 (available devices: 1)"), SettingsError)
    assert isinstance(_context_error(path, 9, "failed to allocate buffer for kv cache"), OutOfMemory)
    assert isinstance(_context_error(path, 9, "std::bad_alloc"), OutOfMemory)
    assert isinstance(_context_error(path, 9, "flash_attn is required"), UnsupportedModel)


# --- progress and end


def test_progress_is_told_in_bytes(tiny_models):
    seen: list[tuple[int, int]] = []
    load(tiny_models["llama"], tiny_config(), lambda done, total: seen.append((done, total))).close()
    size = tiny_models["llama"].stat().st_size
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_progress_raises_ends_the_loading(tiny_models):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(tiny_models["llama"], tiny_config(), stop)


def test_a_failed_load_leaves_nothing_behind(tiny_models, monkeypatch):
    import llama_cpp.llama_cpp as library

    freed: list[int] = []
    free = library.llama_model_free
    monkeypatch.setattr(library, "llama_model_free", lambda model: (freed.append(model), free(model)))
    with pytest.raises(UnsupportedModel):
        load(tiny_models["llama"], tiny_config(kv_dtype="q8"))
    assert len(freed) == 1


def test_closing_twice_is_closing_once(tiny_models, caplog):
    with caplog.at_level(logging.DEBUG):
        executor = load(tiny_models["llama"], LlamaConfig(num_threads=1))
        executor.close()
        executor.close()
