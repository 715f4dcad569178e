"""Sentence pairs that the demo makes itself where it finds none: a small grammar of two languages."""

from __future__ import annotations

from itertools import product

__all__ = ["made_up_pairs"]

_SUBJECTS = (
    ("I", "Ich", "1"),
    ("You", "Du", "2"),
    ("He", "Er", "3"),
    ("She", "Sie", "3"),
    ("We", "Wir", "p"),
    ("They", "Sie", "p"),
    ("Tom", "Tom", "3"),
    ("Mary", "Maria", "3"),
    ("My brother", "Mein Bruder", "3"),
    ("The children", "Die Kinder", "p"),
)
_VERBS = (
    ("see", "sees", {"1": "sehe", "2": "siehst", "3": "sieht", "p": "sehen"}),
    ("buy", "buys", {"1": "kaufe", "2": "kaufst", "3": "kauft", "p": "kaufen"}),
    ("look for", "looks for", {"1": "suche", "2": "suchst", "3": "sucht", "p": "suchen"}),
    ("need", "needs", {"1": "brauche", "2": "brauchst", "3": "braucht", "p": "brauchen"}),
    ("bring", "brings", {"1": "bringe", "2": "bringst", "3": "bringt", "p": "bringen"}),
)
_OBJECTS = (
    ("the dog", "den Hund"),
    ("the cat", "die Katze"),
    ("the book", "das Buch"),
    ("a house", "ein Haus"),
    ("an apple", "einen Apfel"),
    ("two tickets", "zwei Karten"),
    ("the old car", "das alte Auto"),
    ("a new lamp", "eine neue Lampe"),
)
_TIMES = (("", ""), (" today", "heute"), (" tomorrow", "morgen"), (" every day", "jeden Tag"))
_ENDS = ((".", ""), (" again.", " wieder"))


def made_up_pairs() -> tuple[tuple[str, str], ...]:
    """Three thousand two hundred pairs, the same each time.

    German agrees its verb with the subject and puts time and adverb before the object, so there is something to
    learn; what a translator scores on it says little about real text.
    """
    return tuple(
        (
            f"{subject} {many if form in '12p' else one} {thing}{time}{end}",
            " ".join(f"{betreff} {verben[form]} {zeit}{ende} {ding}.".split()),
        )
        for (subject, betreff, form), (many, one, verben), (thing, ding), (time, zeit), (end, ende) in product(
            _SUBJECTS, _VERBS, _OBJECTS, _TIMES, _ENDS
        )
    )
