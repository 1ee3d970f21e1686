"""Settings come from the environment, and wrong values are explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfarm.errors import MachineError, UsageError
from modelfarm.settings import LOCAL, ROOT, TORCH_INDEX, Thresholds, from_environment, positive


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELFARM_CACHE", str(tmp_path / "cache"))


def test_an_empty_environment_gives_the_defaults(tmp_path: Path) -> None:
    settings = from_environment({})
    assert (settings.models, settings.artifacts) == (ROOT / "models", ROOT / "artifacts")
    assert (settings.runner, settings.torch_index, settings.jobs) == ("auto", TORCH_INDEX, None)
    assert settings.cache == tmp_path / "cache"
    assert settings.downloads == tmp_path / "cache" / "downloads"
    assert settings.environments == tmp_path / "cache" / "venvs"


def test_empty_values_count_as_absent_as_make_exports_them() -> None:
    names = ("MODELS_DIR", "ARTIFACTS", "RUNNER", "JOBS")
    assert from_environment(dict.fromkeys(names, "")) == from_environment({})


def test_values_are_taken_and_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    settings = from_environment({"MODELS_DIR": "mine", "ARTIFACTS": "~/made", "RUNNER": "venv", "JOBS": "4",
                                 "TORCH_INDEX": "", "MODELFARM_DATA": "a::~/b:/c"})
    assert settings.models == tmp_path / "mine"
    assert settings.artifacts == tmp_path / "home" / "made"
    assert settings.data == (tmp_path / "a", tmp_path / "home" / "b", Path("/c"))
    assert (settings.runner, settings.jobs, settings.torch_index) == ("venv", 4, "")


def test_an_empty_data_variable_means_no_folders() -> None:
    assert from_environment({"MODELFARM_DATA": ""}).data == ()


def test_the_default_data_folder_counts_only_where_it_exists() -> None:
    assert from_environment({}).data in ((), (ROOT.parent / "shared" / "data",))


@pytest.mark.parametrize("variable", ["MODELS_DIR", "ARTIFACTS", "MODELFARM_DATA"])
def test_a_home_of_nobody_is_a_usage_error(variable: str) -> None:
    with pytest.raises(UsageError, match="there is no such user"):
        from_environment({variable: "~nobody-of-this-name/x"})


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", " 1", "\u0663", "9" * 5000])
def test_a_count_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="expected a whole number of at least 1"):
        positive(text, "JOBS")
    with pytest.raises(UsageError, match="JOBS="):
        from_environment({"JOBS": text})


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELFARM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError()))
    with pytest.raises(MachineError) as caught:
        from_environment({})
    assert "MODELFARM_CACHE" in caught.value.remedy


def test_the_engine_is_local_or_an_address() -> None:
    assert from_environment({}).engine == from_environment({"ENGINE": ""}).engine == LOCAL
    assert from_environment({"ENGINE": "tcp://head:8786"}).engine == "tcp://head:8786"
    for text in ("head:8786", "tcp://head", "http://head:80", "lokal"):
        with pytest.raises(UsageError, match="expected local, or the address") as caught:
            from_environment({"ENGINE": text})
        assert "docs/cluster.md" in caught.value.remedy


def test_strict_is_a_switch() -> None:
    assert [from_environment({"STRICT": text}).strict for text in ("", "0", "1")] == [False, False, True]
    with pytest.raises(UsageError, match="STRICT=yes: expected 1 or 0"):
        from_environment({"STRICT": "yes"})


def test_thresholds_of_regressions_are_read_by_name() -> None:
    assert from_environment({}).thresholds == Thresholds()
    assert from_environment({"REGRESSION": "latency=3 smallest=1e-5"}).thresholds == Thresholds(latency=3,
                                                                                             smallest=1e-5)
    with pytest.raises(UsageError, match="REGRESSION: latenzy is not known; did you mean latency"):
        from_environment({"REGRESSION": "latenzy=3"})
    for text in ("latency", "latency=", "latency=fast", "latency=-1", "size=inf"):
        with pytest.raises(UsageError, match="expected (latency|size)=number"):
            from_environment({"REGRESSION": text})


def test_moved_thresholds_are_told_as_they_are_given() -> None:
    assert Thresholds().moved == ""
    text = "latency=3 smallest=1e-05"
    assert from_environment({"REGRESSION": text}).thresholds.moved == text
