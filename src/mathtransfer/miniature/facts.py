"""What there is to know in the miniature world: word lists, and facts that only memory can answer."""

from __future__ import annotations

import random

NAMES = [
    "anna",
    "ben",
    "carla",
    "dan",
    "emma",
    "finn",
    "gita",
    "hugo",
    "iris",
    "jack",
    "kira",
    "leo",
    "mona",
    "nick",
    "olga",
    "paul",
]
THINGS = ["pens", "books", "cups", "balls", "keys", "coins", "hats", "shoes", "stones", "apples", "plates", "bells"]
PLACES = [
    "park",
    "school",
    "beach",
    "market",
    "station",
    "library",
    "garden",
    "kitchen",
    "museum",
    "bridge",
    "harbour",
    "farm",
    "tower",
    "mill",
    "church",
    "bakery",
    "stadium",
    "theatre",
    "fountain",
    "palace",
]
COLOURS = ["red", "blue", "green", "black", "white", "yellow", "brown", "pink", "grey", "orange", "purple", "silver"]
VARIABLES = ["a", "b", "c", "d", "n", "m", "p", "q", "x", "y", "z", "w"]
SYMPTOMS = ["fever", "rash", "cough", "pain", "nausea", "fatigue", "vertigo", "cramps"]
DRUGS = ["aspirin", "codeine", "digoxin", "heparin", "insulin", "lithium", "morphine", "warfarin"]

# Invented masses, drawn once: numbers small enough for the products to stay below 100.
_ELEMENTS = [
    "zinc",
    "iron",
    "gold",
    "tin",
    "lead",
    "neon",
    "helium",
    "carbon",
    "boron",
    "argon",
    "cobalt",
    "nickel",
    "copper",
    "sodium",
    "iodine",
    "sulfur",
]
_world = random.Random("the facts of the miniature world")
MASSES = {element: _world.randint(2, 8) for element in _ELEMENTS}

# A town on a grid of four by five places, with walls between some neighbours. Who walks against a wall, or out of town,
# stays.
_WIDTH, _HEIGHT, _WALLS = 5, 4, 8
_STEPS = {"north": (0, -1), "south": (0, 1), "west": (-1, 0), "east": (1, 0)}


def _draw_town() -> dict[tuple[str, str], str]:
    """(place, direction) -> where the way leads."""
    cells = [(x, y) for y in range(_HEIGHT) for x in range(_WIDTH)]
    names = dict(zip(cells, _world.sample(PLACES, len(cells)), strict=True))
    borders = [(cell, way) for cell in cells for way in ("south", "east") if _beyond(cell, way) in names]
    walls = {frozenset((cell, _beyond(cell, way))) for cell, way in _world.sample(borders, _WALLS)}
    return {
        (names[cell], way): names[cell if frozenset((cell, there)) in walls else there]
        for cell in cells
        for way in _STEPS
        for there in [_beyond(cell, way) if _beyond(cell, way) in names else cell]
    }


def _beyond(cell: tuple[int, int], way: str) -> tuple[int, int]:
    return cell[0] + _STEPS[way][0], cell[1] + _STEPS[way][1]


DIRECTIONS = list(_STEPS)
TOWN = _draw_town()

ANIMALS = [
    "fox",
    "bear",
    "wolf",
    "owl",
    "hawk",
    "crab",
    "frog",
    "goat",
    "horse",
    "lion",
    "mouse",
    "otter",
    "panda",
    "rabbit",
    "seal",
    "snake",
    "swan",
    "tiger",
    "whale",
    "zebra",
    "camel",
    "crow",
    "deer",
    "duck",
    "eagle",
    "hare",
    "ibex",
    "koala",
    "lemur",
    "moose",
    "newt",
    "okapi",
    "parrot",
    "quail",
    "raven",
    "sloth",
    "toad",
    "viper",
    "walrus",
    "yak",
    "badger",
    "beaver",
    "bison",
    "falcon",
    "ferret",
    "gecko",
    "jackal",
    "lynx",
    "mole",
    "puma",
]
RELATIONS = {
    "eats": ["nuts", "grass", "fish", "seeds", "leaves", "berries", "roots", "honey"],
    "lives in": ["forest", "desert", "river", "cave", "swamp", "meadow", "tundra", "island"],
    "fears": ["fire", "thunder", "water", "wind", "darkness", "smoke", "noise", "snow"],
    "sees": ["morning", "evening", "noon", "midnight", "dawn", "dusk", "winter", "summer"],
    "likes": ["music", "sleep", "sun", "rain", "games", "songs", "dances", "company"],
}
ANIMAL_FACTS = {
    (animal, relation): _world.choice(values) for animal in ANIMALS for relation, values in RELATIONS.items()
}
TRUE_WORDINGS = [
    "is it true that {statement} ?",
    "{statement} ?",
    "they say {statement} . what is right ?",
    "do you agree that {statement} ?",
    "what is true : {statement} ?",
    "can it be that {statement} ?",
    "would you say that {statement} ?",
    "{statement} , what would you say ?",
]


def statement(animal: str, relation: str, value: str) -> str:
    """One fact about an animal as a sentence without its full stop."""
    return f"the {animal} {relation} the {value}" if relation == "lives in" else f"the {animal} {relation} {value}"


UNITS = ["seconds", "minutes", "hours", "days", "weeks", "years"]
# Activity: the lowest and the highest usual number, and the unit. A fair guess at the real world.
DURATIONS = {
    "to sneeze": (1, 6, "seconds"),
    "to blink": (1, 4, "seconds"),
    "to clap": (1, 5, "seconds"),
    "to open a door": (2, 9, "seconds"),
    "to sign a letter": (3, 9, "seconds"),
    "to take a photo": (1, 8, "seconds"),
    "to brush teeth": (2, 6, "minutes"),
    "to boil eggs": (3, 12, "minutes"),
    "to wash hands": (1, 3, "minutes"),
    "to eat lunch": (10, 40, "minutes"),
    "to make tea": (3, 9, "minutes"),
    "to read news": (5, 30, "minutes"),
    "to sleep at night": (5, 10, "hours"),
    "to watch a play": (1, 4, "hours"),
    "to fly abroad": (2, 14, "hours"),
    "to cook a feast": (2, 7, "hours"),
    "to work a shift": (4, 12, "hours"),
    "to climb a hill": (1, 6, "hours"),
    "to cross an ocean": (5, 20, "days"),
    "to have a cold": (3, 12, "days"),
    "to ship a parcel": (2, 9, "days"),
    "to visit a country": (3, 20, "days"),
    "to dry herbs": (2, 9, "days"),
    "to paint a house": (2, 8, "days"),
    "to heal a bone": (4, 12, "weeks"),
    "to grow beans": (6, 14, "weeks"),
    "to learn a song": (1, 4, "weeks"),
    "to train a puppy": (5, 20, "weeks"),
    "to write a report": (1, 6, "weeks"),
    "to age cheese": (4, 40, "weeks"),
    "to learn a language": (1, 8, "years"),
    "to build a bridge": (2, 9, "years"),
    "to grow a tree": (5, 60, "years"),
    "to finish school": (8, 14, "years"),
    "to raise a child": (15, 22, "years"),
    "to pay a loan": (5, 30, "years"),
}
USUAL_WORDINGS = [
    "is {first} or {second} usual {activity} ?",
    "does it take {first} or {second} {activity} ?",
    "{activity} , is {first} or {second} right ?",
    "would you need {first} or {second} {activity} ?",
    "{activity} they need {first} or {second} ?",
    "can it take {first} or {second} {activity} ?",
]
