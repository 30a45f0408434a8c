"""What `facepay evaluate` prints: its figures as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipeline.cli import console

if TYPE_CHECKING:
    from pipeline.evaluate.identification import Search
    from pipeline.evaluate.liveness import Share
    from pipeline.evaluate.strata import Stratum

_MOST_NAMED = 20


def recognition(result: Mapping[str, Any], found: Sequence[Search], strata: Sequence[Stratum]) -> None:
    """The figures of `facepay evaluate recognition`."""
    _failures(result)
    console.out.print(
        f"{result['mated']} mated pairs of {result['mated_people']} people, {result['non_mated']} non-mated pairs of "
        f"{result['people']}; EER {rate(result['eer'], result['eer_ci'])}, "
        f"AUC {_plain(result['auc'], result['auc_ci'])}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("FMR", "threshold", "FNMR (95 %)", "missed", "")
    for row in result["fnmr_at_fmr"]:
        if row["threshold"] is None:
            table.add_row(f"{row['fmr']:g}", "-", "-", "-", row["note"])
        else:
            table.add_row(
                f"{row['fmr']:g}",
                f"{row['threshold']:.3f}",
                rate(row["fnmr"], row["ci"]),
                f"{row['missed']} of {row['mated']}",
                row["note"],
            )
    console.show_table(table)
    table = Table("threshold in use", "cosine", "FMR (95 %)", "FNMR (95 %)", "missed")
    for row in result["at_thresholds"]:
        table.add_row(
            row["name"],
            f"{row['threshold']:.3f}",
            rate(row["fmr"], row["fmr_ci"]),
            rate(row["fnmr"], row["fnmr_ci"]),
            f"{row['missed']} of {row['mated']}",
        )
    console.show_table(table)
    table = Table("gallery", "threshold", "margin", "FPIR (95 %)", "FNIR (95 %)")
    for search in found:
        table.add_row(
            str(search.n),
            f"{search.threshold:.3f}",
            f"{search.margin:g}",
            rate(search.fpir, search.fpir_ci),
            rate(search.fnir, search.fnir_ci),
        )
    console.show_table(table)
    if result["limits"] is not None:
        in_force(result["identification_in_force"], result["limits"], "one template a person, thresholds in force:")
    if strata:
        table = Table("by", "class", "cosine", "pictures", "FNMR (95 %)", "missed", "FMR (95 %)")
        for part in strata:
            table.add_row(
                part.by,
                part.name,
                f"{part.threshold:.3f}",
                str(part.pictures),
                rate(part.fnmr, part.fnmr_ci),
                f"{part.missed} of {part.mated}",
                rate(part.fmr, part.fmr_ci),
            )
        console.show_table(table)


def liveness(result: Mapping[str, Any], shares: Sequence[Share], eyes: Any) -> None:  # noqa: ANN401 - Eyes or None
    """The figures of `facepay evaluate liveness`."""
    _failures(result)
    said = "provisional: not validated on data it was not chosen on" if result["provisional"] else "validated"
    console.out.print(
        f"threshold {result['threshold']:g} ({said}); AUC {_plain(result['auc'], result['auc_ci'])}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table("presentations", "rate", "value (95 %)", "errors", "non-responses")
    for share in shares:
        table.add_row(
            share.name,
            "BPCER" if share.name == "live" else "APCER",
            rate(share.rate, share.ci),
            f"{share.errors} of {share.classified}",
            str(share.non_responses),
        )
    if eyes is not None:
        for share, what in ((eyes.closed_accepted, "said open"), (eyes.open_refused, "not said open")):
            table.add_row(
                f"eyes {share.name}",
                what,
                rate(share.rate, share.ci),
                f"{share.errors} of {share.classified}",
                str(share.non_responses),
            )
    console.show_table(table)


def _failures(result: Mapping[str, Any]) -> None:
    failures = result["failures"]
    console.out.print(
        f"{result['pictures']} pictures: {failures['unreadable']} unreadable, failure to detect "
        f"{rate(result['failure_to_detect']['rate'], result['failure_to_detect']['ci'])}, failure to acquire "
        f"{rate(result['failure_to_acquire']['rate'], result['failure_to_acquire']['ci'])}",
        highlight=False,
        soft_wrap=True,
    )
    for failed in result["failed"][:_MOST_NAMED]:
        console.note(f"{failed['outcome'].replace('_', ' ')}: {failed['error'] or failed['file']} ({failed['file']})")


def in_force(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, Any], title: str) -> None:
    """Searches at the thresholds in force, and how far they go."""
    table = Table("people", "templates", "threshold", "FPIR (95 %)", "FNIR (95 %)", "FPIR per transaction, at most", "")
    for row in rows:
        table.add_row(
            str(row["n"]),
            str(row.get("templates", row["n"])),
            f"{row['threshold']:.3f}",
            rate(row["fpir"], row["fpir_ci"]),
            rate(row["fnir"], row["fnir_ci"]),
            f"{row['fpir_transaction']:.3%} ({row['support'].replace('_', ' ')})",
            "" if row["supported"] else f"not searched: asks for {row['claim'].replace('_', ' ')}",
        )
    console.out.print(title, highlight=False, soft_wrap=True)
    console.show_table(table)
    console.out.print(
        f"a face alone is searched for among {limits['templates']} templates, {limits['templates_at_match']} of "
        f"them at the manifest's own threshold ({limits['frames']} frames x {limits['attempts']} attempts, FPIR of a "
        f"transaction {limits['max_fpir']:g}); beyond that it asks for the {limits['beyond'].replace('_', ' ')}",
        highlight=False,
        soft_wrap=True,
    )


def rate(value: float | None, interval: Sequence[float]) -> str:
    """A share with its interval."""
    return "no data" if value is None else f"{value:.3%} ({interval[0]:.3%} to {interval[1]:.3%})"


def _plain(value: float | None, interval: Sequence[float]) -> str:
    return "no data" if value is None else f"{value:.5f} ({interval[0]:.5f} to {interval[1]:.5f})"
