"""What a claim does to a vote: it says among whom a face is looked for, and so what the votes so far are worth.

An intent has one claim at most, the one that it was opened with. Frames of cameras that know of no claims are looked at
under the intent's claim as soon as any frame has brought it.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.domain.recognition import Vote


def looked_for_elsewhere(vote: Vote) -> Vote:
    """The vote after the claim has changed: ballots were cast among other candidates and count no more, attempts that
    failed have failed. So claims cannot be tried one after the other at the cost of one intent."""
    eyes = {
        camera: replace(
            eye, attempt=replace(eye.attempt, judged=0, refused=0, ballots=(), lives=(), unclear=False)
        )
        for camera, eye in vote.eyes.items()
    }  # fmt: skip
    return replace(vote, eyes=eyes)
