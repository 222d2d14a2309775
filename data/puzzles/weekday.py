"""Family `weekday`: one event's day is given, the others lie so many days before or after another event."""

from __future__ import annotations

from random import Random

from data.puzzles.lexicon import DAYS, EVENTS
from data.puzzles.puzzle import Ask, Language, Puzzle, others


def make(rng: Random, language: Language, style: int) -> Puzzle:
    """Draw two to four events; each shift is one to seven days, so that every weekday is equally likely."""
    events = rng.sample(EVENTS[language], rng.randint(2, 4))
    day = {events[0]: rng.randrange(7)}
    stem = _tell_first(events[0], DAYS[language][day[events[0]]], language, style)
    for place, event in enumerate(events[1:], start=1):
        base = rng.choice(events[:place])
        shift = rng.randint(1, 7)
        after = rng.random() < 0.5
        day[event] = (day[base] + (shift if after else -shift)) % 7
        stem += _tell_shift(event, base, shift, after, language)
    asks = [_ask_day(event, day, language, style) for event in rng.sample(events[1:], min(2, len(events) - 1))]
    asks += _ask_event(rng, events, day, language, style)
    solution = ("，" if language == "zh" else ", ").join(
        event + ("" if language == "zh" else " ") + DAYS[language][day[event]] for event in events
    )
    return Puzzle("weekday", language, stem.strip(), tuple(asks), solution)


def _tell_first(event: str, day: str, language: Language, style: int) -> str:
    if language == "zh":
        return f"{event}在{day}。" if style == 0 else f"日程表上，{event}定在{day}。"
    return f"The {event} is on {day}. " if style == 0 else f"On the plan, the {event} is on {day}. "


def _tell_shift(event: str, base: str, shift: int, after: bool, language: Language) -> str:
    if language == "zh":
        return f"{event}在{base}{'后' if after else '前'}{shift}天。"
    days = "day" if shift == 1 else "days"
    return f"The {event} is {shift} {days} {'after' if after else 'before'} the {base}. "


def _ask_day(event: str, day: dict[str, int], language: Language, style: int) -> Ask:
    right = DAYS[language][day[event]]
    if language == "zh":
        text = f"{event}在星期几？" if style == 0 else f"哪一天有{event}？"
    else:
        text = f"On which day is the {event}?" if style == 0 else f"When is the {event}?"
    return Ask(text, right, others(DAYS[language], right))


def _ask_event(rng: Random, events: list[str], day: dict[str, int], language: Language, style: int) -> list[Ask]:
    """Ask which event is on a day that only one event has: none if no day is such."""
    right = rng.choice(events)
    if sum(day[event] == day[right] for event in events) > 1:
        return []
    name = DAYS[language][day[right]]
    if language == "zh":
        text = f"{name}有什么事？" if style == 0 else f"什么事在{name}？"
    else:
        text = f"What is on {name}?" if style == 0 else f"Which event is on {name}?"
    return [Ask(text, right, others(events, right))]
