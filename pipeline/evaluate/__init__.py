"""Error rates of recognition and of presentation attack detection, each with its 95 % interval.

`sightings` runs the engine over labelled pictures; everything else is arithmetic on what it saw: `comparisons` (who is
compared with whom), `recognition` and `identification` (ISO/IEC 19795-1), `in_force` (the same at the thresholds that
rise with the gallery), `calibration` (what may be said of an embedder's false matches), `crowd` (searching a city of
drawn people) with its `chart`, `liveness` (ISO/IEC 30107-3), `strata` (the same by light, size, pose or any labelled
group), `intervals` and `resampling` (how sure a figure is). Nothing here decides a payment, and nothing is written but
what a command is asked to write.
"""
