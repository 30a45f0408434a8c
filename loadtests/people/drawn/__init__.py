"""People who do not exist, drawn by numbers: numpy and OpenCV only, deterministic by seed.

`person(seed)` is an identity (factors), `Painter` its textures, `View` a moment, `Painter.draw` puts one into a picture
and says what is true about it. `attack` shows the same person on paper or a screen; `scene` and `CameraStream` put them
into a store. Look at them: `python -m loadtests.people.drawn --sheet FILE.png`.
"""

from loadtests.people.drawn.attacks import Instrument, Species, attack
from loadtests.people.drawn.backgrounds import background
from loadtests.people.drawn.factors import ALBEDO, SHAPE, Person, person
from loadtests.people.drawn.noise import Sensor, expose
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.pictures import lens, portrait, sample
from loadtests.people.drawn.scenes import scene
from loadtests.people.drawn.stream import CameraStream, Frame
from loadtests.people.drawn.truth import Truth
from loadtests.people.drawn.view import Light, View, random_light, random_view

__all__ = [
    "ALBEDO",
    "SHAPE",
    "CameraStream",
    "Frame",
    "Instrument",
    "Light",
    "Painter",
    "Person",
    "Sensor",
    "Species",
    "Truth",
    "View",
    "attack",
    "background",
    "expose",
    "lens",
    "person",
    "portrait",
    "random_light",
    "random_view",
    "sample",
    "scene",
]
