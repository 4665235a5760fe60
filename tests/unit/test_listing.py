"""A server's list of models is a stranger's text."""

import json

from omni_cli.services.fleet.listing import read_models
from omni_cli.wire.openai.client import OpenAiCompatible


def test_names_that_steer_a_terminal_are_left_out() -> None:
    names = ["good", "evil\x1b]0;title\x07", "two\nlines", "模型"]
    body = json.dumps({"object": "list", "data": [{"id": name} for name in names]})
    read = read_models(OpenAiCompatible(), body)
    assert [model.wire_name for model in read] == ["good", "模型"]
