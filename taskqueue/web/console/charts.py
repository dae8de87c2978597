"""Charts of series as SVG: bars for what ended, with marks for the changes that may explain them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from taskqueue.telemetry.changes import Change
from taskqueue.telemetry.series import Point

WIDTH, HEIGHT = 720.0, 96.0  # of the drawing; the page scales it
GAP = 0.18  # of a bar's width


@dataclass(frozen=True)
class Bar:
    """The bars of one point, one on the other, from below: complete, retried, failed."""

    x: float
    width: float
    complete: tuple[float, float]  # y and height of each
    retried: tuple[float, float]
    failed: tuple[float, float]
    point: Point


@dataclass(frozen=True)
class Mark:
    """A change that happened at a point of the chart."""

    x: float
    change: Change


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn by the template."""

    width: float
    height: float
    top: int  # the number at the upper end
    bars: list[Bar]
    marks: list[Mark]
    points: Sequence[Point]
    step_seconds: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing has happened."""
        return all(not (point.submitted or point.begun or point.complete or point.failed) for point in self.points)


def chart(points: Sequence[Point], step_seconds: int, changes: Iterable[Change] = ()) -> Chart:
    """Return the chart of a series, oldest point first; `changes` are marked where they happened."""
    top = _round_up(max((_ended(point) for point in points), default=0))
    slot = WIDTH / max(1, len(points))
    bars = []
    for index, point in enumerate(points):
        y = HEIGHT
        parts: list[tuple[float, float]] = []
        for count in (point.complete, point.retried, point.failed + point.canceled):
            height = HEIGHT * count / top
            height = max(height, 1.5) if count else 0.0  # one failure among thousands is still seen
            y -= height
            parts.append((round(max(0.0, y), 2), round(height, 2)))
        x, width = round((index + GAP / 2) * slot, 2), round(slot * (1 - GAP), 2)
        bars.append(Bar(x, width, parts[0], parts[1], parts[2], point))
    places = [(change, _position(points, step_seconds, change.at)) for change in changes]
    marks = [Mark(place, change) for change, place in places if place is not None]
    return Chart(WIDTH, HEIGHT, top, bars, marks, points, step_seconds)


def sparkline(points: Sequence[Point]) -> str:
    """Return the points of an SVG polyline 100 wide and 20 high: how many ended."""
    top = max(1, *(_ended(point) for point in points)) if points else 1
    step = 100 / max(1, len(points) - 1)
    return " ".join(
        f"{index * step:.1f},{19 - 18 * _ended(point) / top:.1f}" for index, point in enumerate(points)
    )


def _ended(point: Point) -> int:
    return point.complete + point.retried + point.failed + point.canceled


def _position(points: Sequence[Point], step_seconds: int, at: datetime) -> float | None:
    if not points or at < points[0].at:
        return None
    seconds = (at - points[0].at).total_seconds()
    return round(min(WIDTH - 1, seconds / step_seconds * WIDTH / len(points)), 2)


def _round_up(number: int) -> int:
    """Return the next round number: 1, 2, 5, 10, 20, 50 …"""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if number <= factor * power:
                return factor * power
        power *= 10
