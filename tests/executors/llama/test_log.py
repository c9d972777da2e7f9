import logging

import pytest

from publican.executors.llama.library import load_library
from publican.executors.llama.log import LibraryLog


class Library:
    """Only what a log needs."""

    def __init__(self):
        self.callback = None

    def llama_log_callback(self, function):
        return function

    def llama_log_set(self, callback, _data):
        self.callback = callback


@pytest.fixture
def log():
    library = Library()
    log = LibraryLog(library)
    log.write = lambda level, text: library.callback(level, text, None)
    return log


def test_the_reason_is_the_first_complaint_without_function_names(log):
    log.write(2, b"llama_model_loader: - kv 0\n")
    log.write(3, b"load: adding 96 dummy tokens\n")
    log.write(4, b"llama_model_load: error loading model: unknown model architecture: 'foo'\n")
    log.write(4, b"llama_model_load_from_file_impl: failed to load model\n")
    assert log.reason() == "unknown model architecture: 'foo'"
    log.forget()
    assert log.reason() == "libllama gave no reason"


def test_it_listens_again_where_somebody_else_took_the_log(log):
    library = Library()
    log = LibraryLog(library)
    library.callback = None
    log.forget()
    library.callback(4, b"no\n", None)
    assert log.reason() == "no"


def test_bytes_that_are_no_text_do_no_harm(log):
    log.write(4, b"gguf: invalid magic characters: '\xff\xfe'.\n")
    assert log.reason().startswith("invalid magic characters")
    assert not log.reason().endswith(".")


def test_complaints_go_to_logging_and_dots_nowhere(log, caplog):
    with caplog.at_level(logging.DEBUG, "publican.executors.llama.log"):
        log.write(4, b"f: broken\n")
        log.write(2, b"f: chatter\n")
        log.write(5, b".")
        log.write(77, b"f: of the future\n")
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("WARNING", "f: broken"),
        ("DEBUG", "f: chatter"),
        ("DEBUG", "f: of the future"),
    ]


def test_the_library_says_nothing_on_stderr(capfd, tmp_path):
    library = load_library()
    assert not library.llama_model_load_from_file(str(tmp_path / "none").encode(), library.llama_model_default_params())
    assert capfd.readouterr() == ("", "")
