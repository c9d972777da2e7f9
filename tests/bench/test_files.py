import pytest

from publican.bench.files import read_report
from publican.core.errors import SettingsError


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "publican bench serve", "format": 99}', "\x00"])
def test_what_is_no_report_is_refused(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(SettingsError):
        read_report(path)


def test_a_missing_report_is_told(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_report(tmp_path / "none.json")
