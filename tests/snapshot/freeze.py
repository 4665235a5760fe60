"""Write what snapshots show of catalogue and priors: ``python -m tests.snapshot.freeze``.

Snapshots are of the screens. With the shipped data in them every new price would change them all,
so the models of the scene are kept as they were; other tests look after the shipped data.
"""

import json
from pathlib import Path
from typing import Any

from omni_cli.catalog import load, priors
from omni_cli.domain.quality import family_key
from omni_cli.simulator import fleet

FOLDER = Path(__file__).parent / "frozen"
CATALOG, PRIORS = FOLDER / "catalog.json", FOLDER / "priors.json"


def scene_ids() -> frozenset[str]:
    """Everything that the simulator's providers serve."""
    return frozenset(f"{p.slug}/{m.wire_name}" for p in fleet.PROVIDERS for m in p.models)


def frozen_catalog(shipped: dict[str, Any]) -> dict[str, Any]:
    wanted = scene_ids()
    return {**shipped, "models": [row for row in shipped["models"] if row["id"] in wanted]}


def frozen_priors(shipped: dict[str, Any]) -> dict[str, Any]:
    keys = {family_key(model_id) for model_id in scene_ids()}
    families = {k: v for k, v in shipped["families"].items() if k in keys}
    models = keys | set(families.values())
    return {
        **shipped,
        "families": families,
        "models": {k: v for k, v in shipped["models"].items() if k in models},
    }


def main() -> None:
    package = Path(load.__file__).parent
    for path, name, cut in (
        (CATALOG, load.FILE, frozen_catalog),
        (PRIORS, priors.FILE, frozen_priors),
    ):
        shipped = json.loads((package / name).read_bytes())
        path.write_text(json.dumps(cut(shipped), indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
