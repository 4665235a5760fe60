"""Where quality starts: what users say of their models, what is published, what size suggests."""

from collections.abc import Callable, Mapping

from omni_cli.domain.models import size_of_name
from omni_cli.domain.quality import PRIOR_STRENGTH, Prior, PriorLookup

#: How the basis of such a prior begins.
OWN_SCORE = "your own score"
#: The scores that speak for a task type; of several, the mean of those that were given. Nothing
#: a user can say stands for image work; a badge does.
SPEAK_FOR: Mapping[str, tuple[str, ...]] = {
    "coding": ("coding",),
    "debugging": ("coding",),
    "agent_step": ("coding", "reasoning"),
    "reasoning": ("reasoning",),
    "math": ("reasoning",),
    "analysis": ("reasoning",),
    "research": ("reasoning",),
    "extraction": ("reasoning",),
    "writing": ("creativity",),
    "translation": ("creativity",),
    "summarization": ("creativity", "reasoning"),
    "chat": ("creativity", "reasoning"),
}


def with_own_scores(
    published: PriorLookup, scores: Mapping[str, Mapping[str, float]]
) -> PriorLookup:
    """``published``, but where a user scored a model that score comes first.

    Args:
        scores: the user's, 0 to 100, by model id and capability. A score reads as the chance in
            percent of a good answer, as the catalogue's do, and weighs PRIOR_STRENGTH
            observations: outcomes still move it.
    """

    def lookup(task_type: str, model_id: str) -> Prior | None:
        own = scores.get(model_id, {})
        given = [name for name in SPEAK_FOR.get(task_type, ()) if name in own]
        if not given:
            return published(task_type, model_id)
        mean = sum(own[name] for name in given) / len(given) / 100
        words = ", ".join(f"{name} {own[name]:g}" for name in given)
        return Prior(mean, PRIOR_STRENGTH, f"{OWN_SCORE}: {words}")

    return lookup if scores else published


def with_sizes(
    published: PriorLookup,
    weak: Callable[[str, str, float | None], Prior | None],
    sizes: Mapping[str, float],
) -> PriorLookup:
    """``published``, but where nothing is published a weak prior, by the model's size.

    Args:
        weak: (task type, model id, billions of parameters or None) to the prior.
        sizes: billions of parameters by model id, where they are known; else the name tells.
    """

    def lookup(task_type: str, model_id: str) -> Prior | None:
        found = published(task_type, model_id)
        if found is not None:
            return found
        size = sizes.get(model_id) or size_of_name(model_id.partition("/")[2])
        return weak(task_type, model_id, size)

    return lookup
