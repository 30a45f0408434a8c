"""People who do not exist, drawn by numbers: numpy and OpenCV only, deterministic by seed.

`person(seed)` is an identity (factors), `Painter` its textures, `View` a moment, `Painter.draw` puts one into a picture
and says what is true about it. `attack` shows the same person on paper or a screen; `scene` and `CameraStream` put them
into a store. Look at them: `python -m loadtests.people.drawn --sheet FILE.png`.
"""

from loadtests.people.drawn.attacks import Species, attack
from loadtests.people.drawn.backgrounds import background
from loadtests.people.drawn.factors import ALBEDO, SHAPE, Person, person
from loadtests.people.drawn.noise import Sensor
from loadtests.people.drawn.painter import Painter
from loadtests.people.drawn.pictures import portrait, sample
from loadtests.people.drawn.scenes import scene
from loadtests.people.drawn.stream import CameraStream, Frame
from loadtests.people.drawn.truth import Truth
from loadtests.people.drawn.view import Light, View, random_view

__all__ = [
    "ALBEDO",
    "SHAPE",
    "CameraStream",
    "Frame",
    "Light",
    "Painter",
    "Person",
    "Sensor",
    "Species",
    "Truth",
    "View",
    "attack",
    "background",
    "person",
    "portrait",
    "random_view",
    "sample",
    "scene",
]
