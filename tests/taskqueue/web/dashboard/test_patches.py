"""The templates of rq-dashboard that are patched."""

from pathlib import Path

import pytest


def test_a_template_that_has_changed_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from taskqueue.web.dashboard import patches

    (tmp_path / "rq_dashboard").mkdir()
    (tmp_path / "rq_dashboard" / "base.html").write_text("another version")
    monkeypatch.setattr(patches, "ORIGINAL", tmp_path)
    with pytest.raises(RuntimeError, match=r"base\.html has changed"):
        patches.loader()
