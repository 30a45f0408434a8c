"""Which faces are acquired: all of them, or only those that the embedding agent would judge at a terminal.

Portraits are made for another purpose than paying, and many are smaller than a face before a terminal. The gate of the
agents is applied where it is asked for, and counted always: a failure to acquire is a matter of policy.
"""

from __future__ import annotations

from pipeline.domain.quality import Look, refusal
from pipeline.settings import Vision
from pipeline.vision.faces import Face
from pipeline.vision.thresholds import quality_limits


def refused(face: Face, settings: Vision) -> str:
    """Why the agents would not judge this face, as the hint they would give; empty when they would."""
    if face.box.w < settings.min_face_px:
        return "come_closer"
    quality = face.quality
    look = Look(
        eye_distance_px=quality.eye_distance_px,
        sharpness=quality.sharpness,
        brightness=quality.brightness,
        clipped=quality.exposure,
        yaw=quality.yaw,
        pitch=quality.pitch,
        roll_deg=quality.roll,
    )
    return refusal(look, quality_limits(settings)) or ""
