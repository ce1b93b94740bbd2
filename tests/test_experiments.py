"""The experiments: every run is made once, and the READMEs' tables are those of the runs."""

import measure
import pytest
import report
from conftest import ROOT


@pytest.mark.parametrize("file", ["README.md", "experiments/README.md"])
def test_the_tables_of_the_readmes_are_those_of_the_runs(file):
    runs = measure.read(ROOT / "experiments" / "results.jsonl")
    text = (ROOT / file).read_text("utf-8")
    assert "<!-- table: default -->\n| network |" in text
    assert report.fill(text, report.tables(report.Results(runs.values()))) == text

def test_every_run_is_made_once(monkeypatch, tmp_path):
    setting = {"network": "without", "seeds": 1, "epochs": 1}
    monkeypatch.setattr(measure, "all_settings", lambda: {"a setting": setting})
    measure.main(["--dataset", "digits", "--folder", str(tmp_path)])
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert b'"a setting"' in files[tmp_path / "results.jsonl"]
    monkeypatch.setattr(measure, "run", pytest.fail)
    measure.main(["--dataset", "digits", "--folder", str(tmp_path)])
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == files
