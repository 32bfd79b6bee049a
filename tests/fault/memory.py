"""Memory over time: samples of processes, a curve of them, and whether it grows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

MIB = 2**20
Series = Mapping[str, Sequence[tuple[float, float]]]  # a process → (seconds, MiB)

WIDTH, HEIGHT, LEFT, TOP, ROW = 900, 420, 60, 20, 18
COLOURS = ("#b2182b", "#ef8a62", "#2166ac", "#67a9cf", "#1b7837", "#7fbf7b", "#762a83", "#af8dc3", "#4d4d4d", "#b8860b")


def proportional(pid: int) -> int:
    """Bytes of a process; what it shares with others counts in part (PSS). None when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def growth(points: Sequence[tuple[float, float]]) -> float:
    """MiB by which a straight line through the last half of the points rises."""
    half = points[len(points) // 2 :]
    if len(half) < 2:
        return 0.0
    middle = sum(x for x, _ in half) / len(half)
    spread = sum((x - middle) ** 2 for x, _ in half)
    slope = sum((x - middle) * y for x, y in half) / spread
    return slope * (half[-1][0] - half[0][0])


def drawn(series: Series, title: str) -> str:
    """An SVG with a curve per process."""
    longest = max(points[-1][0] for points in series.values())
    highest = 1.1 * max(y for points in series.values() for _, y in points)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 260}" height="{HEIGHT + 60}"'
            ' font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{LEFT}" y="14">{title}</text>',
            *_grid(longest, highest),
            *_curves(series, longest, highest),
            "</svg>\n",
        ]
    )


def _grid(longest: float, highest: float) -> Iterator[str]:
    for part in range(6):
        x, y = LEFT + part * (WIDTH - LEFT) / 5, TOP + HEIGHT - part * HEIGHT / 5
        yield f'<path d="M{x:.0f} {TOP}v{HEIGHT}M{LEFT} {y:.0f}H{WIDTH}" stroke="#ddd"/>'
        yield f'<text x="{x:.0f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{part * longest / 300:.1f} min</text>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{part * highest / 5:.0f} MiB</text>'


def _curves(series: Series, longest: float, highest: float) -> Iterator[str]:
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = " ".join(
            f"{LEFT + x / longest * (WIDTH - LEFT):.1f},{TOP + HEIGHT - y / highest * HEIGHT:.1f}" for x, y in points
        )
        yield f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield f'<text x="{WIDTH + 8}" y="{TOP + 12 + ROW * number}" fill="{colour}">{name}</text>'
