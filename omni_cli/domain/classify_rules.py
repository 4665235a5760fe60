"""Rules: named signs that a plain look at single words misses. The model weighs them.

A rule fires on the beginning of the instruction: what is to be made, into which language, with
which kind of argument. Each fired name becomes a feature; none decides alone.
"""

from collections.abc import Iterator
from itertools import pairwise

from omni_cli.domain.lexicon import (
    AMOUNTS,
    ASK_AMOUNT,
    AUTOMATE,
    CODE_LINKS,
    CODE_TONGUES,
    GROUP_ENDS,
    HEART,
    HOW_TO_SAY,
    INSIDE,
    LOGIC,
    MACHINE,
    MAKE,
    POLITE,
    PROOF,
    SYMPTOM,
    THINGS,
    TONGUES,
    intents_of,
)

_KIND = {thing: kind for kind, things in reversed(THINGS.items()) for thing in things}


def fired(part: str, lead: list[str]) -> list[str]:
    """Names of the rules that fire on a sampled text and the words of its instruction."""
    head = part[:280].lower()
    found = [*_of_making(lead), *_of_first_word(head, lead)]
    if any(sign in head for sign in HOW_TO_SAY):
        found.append("how to say")
    if not TONGUES.isdisjoint(lead[:24]):
        found.append("tongue")
    if any(two in CODE_TONGUES and one in CODE_LINKS for one, two in pairwise(lead)):
        found.append("in a code tongue")
    if any(sign in head for sign in PROOF):
        found.append("proof")
    if any(sign in head for sign in LOGIC) or any(sign in part[-120:].lower() for sign in LOGIC):
        found.append("logic")
    if any(sign in head for sign in AUTOMATE):
        found.append("automate")
    found += _of_amounts(part, lead)
    found += _of_trouble(head, lead)
    return found


def _of_making(lead: list[str]) -> Iterator[str]:
    """What the first verb of making makes: "write a function about poems" makes code.

    The last noun of a group counts: a story generator is code.
    """
    making, kind, left = False, "", 16
    for word in lead[:20]:
        if not making:
            making = word in MAKE
        elif word in _KIND:
            kind, left = _KIND[word], min(left, 3)
        elif kind and word in GROUP_ENDS:
            break
        left -= 1
        if left <= 0:
            break
    if kind:
        yield "makes " + kind


def _of_first_word(head: str, lead: list[str]) -> Iterator[str]:
    """The intent of the first word that is not politeness."""
    for word in lead[:10]:
        if word not in POLITE:
            for intent in intents_of(word):
                yield "first " + intent
            break
    if not head.isascii():
        for piece, intent in INSIDE:
            # In Chinese, Japanese and Korean what is to be done to a text stands behind it.
            if piece in head[:12] or (intent == "translate" and piece in head[:40] + head[-12:]):
                yield "first " + intent


def _of_amounts(part: str, lead: list[str]) -> Iterator[str]:
    amounts = sum(word in AMOUNTS for word in lead)
    if amounts >= 2:
        yield "amounts:3" if amounts >= 3 else "amounts:2"
        end = part[-160:].lower()
        if any(sign in end for sign in ASK_AMOUNT):
            yield "asks amount"


def _of_trouble(head: str, lead: list[str]) -> Iterator[str]:
    """Trouble of the heart, which may speak of machines, or of a machine."""
    if not HEART.isdisjoint(lead) and not {"i", "i'm", "me"}.isdisjoint(lead):
        yield "heart"
        if not HEART.isdisjoint(lead[:6]):
            yield from ("heart first", "heart first, again")
    elif any(sign in head for sign in SYMPTOM):
        yield "symptom"
        if not MACHINE.isdisjoint(lead):
            yield "symptom of a machine"
            yield "symptom of a machine, again"
