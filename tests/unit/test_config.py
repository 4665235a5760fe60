"""Settings: where they are, what overrides what, and what is refused (config.py)."""

import sys
from pathlib import Path

import pytest

from omni_cli import config
from omni_cli.config import Paths
from omni_cli.domain.errors import ConfigError


@pytest.fixture
def where(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path)


def write(where: Paths, text: str) -> None:
    where.config_file.write_text(text)


class TestPlaces:
    def test_omni_home_moves_everything(self, tmp_path: Path) -> None:
        found = config.paths({"OMNI_HOME": str(tmp_path), "XDG_CONFIG_HOME": "/elsewhere"})
        assert {found.config, found.data} == {tmp_path}
        assert found.store == tmp_path / "omni.db"

    @pytest.mark.skipif(sys.platform != "linux", reason="XDG is Linux's")
    def test_without_it_the_platforms_own(self, tmp_path: Path) -> None:
        found = config.paths({"HOME": str(tmp_path)})
        assert found.config == tmp_path / ".config" / "omni"
        assert found.data == tmp_path / ".local" / "share" / "omni"
        moved = config.paths({"HOME": "/h", "XDG_DATA_HOME": str(tmp_path)})
        assert moved.data == tmp_path / "omni"
        assert not (tmp_path / "omni").exists()  # nothing is created by asking


class TestReading:
    def test_nothing_written_gives_the_defaults(self, where: Paths) -> None:
        assert config.load(where) == config.Config()

    def test_a_project_overrides_key_by_key(self, where: Paths, tmp_path: Path) -> None:
        write(where, '[routing]\ncost_weight = 0.9\npriority = "best"\n')
        project = tmp_path / "work" / "deep"
        project.mkdir(parents=True)
        (tmp_path / "work" / config.PROJECT_FILE).write_text('[routing]\npriority = "cheap"\n')
        found = config.load(where, cwd=project)
        assert (found.routing.cost_weight, found.routing.priority) == (0.9, "cheap")
        assert config.load(where).routing.priority == "best"

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("[routing\n", "does not parse"),
            ("[rooting]\ncost_weight = 1\n", "is no section"),
            ("top = 1\n", "is no section"),
            ("[routing]\ncost = 1\n", "routing.cost is no field: did you mean cost_weight?"),
            (
                '[routing]\ncost_weight = "much"\n',
                "routing.cost_weight is a number of 0 or more, not 'much'",
            ),
            ("[routing]\ncost_weight = -1\n", "is a number of 0 or more, not -1"),
            ("[routing]\ncost_weight = nan\n", "cost_weight is a number of 0 or more, not nan"),
            ("[routing]\ncost_weight = inf\n", "cost_weight is a number of 0 or more, not inf"),
            ('[routing]\npriority = "fastest"\n', "is one of"),
            (
                "[chat]\nmax_retries = 1.5\n",
                "chat.max_retries is a whole number of 0 or more, not 1.5",
            ),
            ("[chat]\nkeep_conversations = 1\n", "chat.keep_conversations is true or false, not 1"),
            ("[routing]\nmax_fallback_multiple = 0.5\n", "routing.max_fallback_multiple is 1 or"),
            ("routing = 3\n", "routing is a table, not 3"),
            ("[chat]\ntimeout_s = 0\n", "chat.timeout_s is a number above 0, not 0"),
            (
                "[general]\nmonth_day = 32\n",
                "general.month_day is a whole number from 1 to 31, not 32",
            ),
            ('[general]\nzone = "Mars/Olympus"\n', "general.zone is an IANA name .* no time zone"),
        ],
    )
    def test_what_does_not_fit_is_named_with_its_file(
        self, where: Paths, text: str, names: str
    ) -> None:
        write(where, text)
        with pytest.raises(ConfigError, match=names) as raised:
            config.load(where)
        assert raised.value.hint or "config.toml" in raised.value.message

    def test_bytes_that_are_no_text_are_a_config_error(self, where: Paths) -> None:
        where.config_file.write_bytes(b"\xff\xfe[general]")
        with pytest.raises(ConfigError):
            config.load(where)


class TestWriting:
    def test_set_and_unset(self, where: Paths) -> None:
        config.set_value(where, "routing.cost_weight", "0.7")
        config.set_value(where, "chat.keep_conversations", "off")
        config.set_value(where, "general.zone", "Asia/Kathmandu")
        found = config.load(where)
        assert found.routing.cost_weight == 0.7
        assert found.chat.keep_conversations is False
        assert found.general.zone == "Asia/Kathmandu"
        config.unset_value(where, "routing.cost_weight")
        assert config.load(where).routing.cost_weight == 0.4
        assert "routing" not in config.read_user_file(where)

    @pytest.mark.parametrize(
        ("key", "text"),
        [
            ("nothing", "1"),
            ("routing.nothing", "1"),
            ("routing.cost_weight", "much"),
            ("routing.cost_weight", "nan"),
            ("chat.keep_conversations", "perhaps"),
            ("general.week_start", "someday"),
        ],
    )
    def test_a_wrong_value_is_refused_and_nothing_written(
        self, where: Paths, key: str, text: str
    ) -> None:
        with pytest.raises(ConfigError):
            config.set_value(where, key, text)
        assert not where.config_file.exists()

    def test_every_setting_is_known_with_its_default(self) -> None:
        known = config.known_keys()
        assert known["routing.task_weight"] == 0.3
        assert known["general.premium_model"] == ""
        assert known["prices.allow_unknown"] is True


class TestZone:
    def test_setting_then_tz_then_the_machine(self, where: Paths) -> None:
        write(where, '[general]\nzone = "Europe/Berlin"\n')
        found = config.load(where)
        assert config.local_zone(found, {"TZ": "Asia/Tokyo"}) == "Europe/Berlin"
        assert config.local_zone(config.Config(), {"TZ": ":Asia/Tokyo"}) == "Asia/Tokyo"
        machine = config.local_zone(config.Config(), {"TZ": "no such zone"})
        assert machine == config.local_zone(config.Config(), {})
