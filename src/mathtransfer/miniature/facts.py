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
]
COLOURS = ["red", "blue", "green", "black", "white", "yellow", "brown", "pink", "grey", "orange", "purple", "silver"]
VARIABLES = ["a", "b", "c", "d", "n", "m", "p", "q", "x", "y", "z", "w"]
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
    "{statement} . true ?",
    "they say {statement} . is this right ?",
    "do you agree that {statement} ?",
    "true or false : {statement} ?",
    "can it be that {statement} ?",
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
    "is {number} {unit} usual {activity} ?",
    "does it take {number} {unit} {activity} ?",
    "{activity} , is {number} {unit} right ?",
    "would you need {number} {unit} {activity} ?",
    "{activity} they need {number} {unit} . true ?",
    "can it take {number} {unit} {activity} ?",
]
