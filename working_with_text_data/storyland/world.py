"""The things that exist in Storyland: people, places, objects, feelings.

What for: one table of facts about the world, read by the generator (which tells
stories about it) and by the checker (which asks whether a text could be told
about it). The idea: a name has a gender, a place has its own fixtures, a thing
has a kind; whatever carries an obligation of consistency is listed here, and no
sentence is. Leaves out: sentences and templates (``phrases``), and
the plain vocabulary without obligations (``words``).
"""

from __future__ import annotations


def word_list(text: str) -> tuple[str, ...]:
    """The words of ``text``, one table row at a time."""
    return tuple(text.split())


GIRLS = word_list(
    "Mia Lily Anna Ruby Clara Nora Ella Zoe Maya Rosa Lena Emma Tess Alma Nina Sara Lucy Kira Amy Dora "
    "Hana Greta Olive Wanda"
)
BOYS = word_list(
    "Tom Ben Leo Max Sam Finn Oscar Jack Theo Hugo Noah Eli Omar Luca Milo Felix Adam Paul Ravi Karl "
    "Dan Tim Otto Emil"
)
GENDER = {**{n: "f" for n in GIRLS}, **{n: "m" for n in BOYS}}

# Relations of the second character to the first; the gender each one demands.
RELATIONS = {"friend": "", "neighbour": "", "cousin": "", "classmate": "", "brother": "m", "sister": "f"}
ELDERS = {"mother": "f", "father": "m", "grandmother": "f", "grandfather": "m", "aunt": "f", "uncle": "m"}
HELPERS = word_list(
    "baker gardener farmer sailor shepherd potter miller painter librarian postman carpenter teacher "
    "beekeeper clockmaker weaver blacksmith ferryman tailor nurse fisherman cobbler"
)

TRAITS = word_list(
    "kind brave clever shy gentle cheerful curious patient honest quiet lively thoughtful polite careful "
    "friendly playful helpful generous dreamy merry stubborn sensible adventurous tidy bold calm"
)
COLOURS = word_list("red blue green yellow purple orange pink white black brown grey golden silver turquoise")
ITEM_LOOKS = word_list(
    "small little tiny big new old pretty plain lovely fine bright painted striped spotted lucky"
)

# Things that can be owned, lost, found, given and traded. The checker follows every one of them.
ITEMS = word_list(
    "kite ball drum flute whistle lantern basket scarf button ring necklace locket coin key map notebook "
    "pencil compass marble doll puppet puzzle sled bell feather ribbon umbrella mug spoon blanket backpack "
    "telescope magnet camera violin trumpet guitar tambourine crayon postcard stamp badge medal crown mask "
    "cape cap train wagon bracelet purse teapot whisk seashell boomerang"
)
FOODS = word_list(
    "pie cake bun muffin pancake sandwich pear apple peach plum banana melon biscuit pretzel waffle tart "
    "dumpling pastry bagel"
)
FOOD_LOOKS = word_list("warm sweet fresh tasty big delicious fine soft lovely large")
BUILDS = {
    "birdhouse": "planks and nails",
    "raft": "logs and twine",
    "fort": "branches and ferns",
    "cart": "boards and wheels",
    "scarecrow": "straw and rags",
    "robot": "boxes and wire",
    "rocket": "tubes and foil",
    "bookshelf": "boards and screws",
    "tent": "poles and sheets",
    "tower": "bricks and pebbles",
    "dollhouse": "cardboard and paint",
    "scooter": "pipes and bolts",
    "castle": "crates and flags",
    "hut": "sticks and mud",
}
TOOLS = word_list("hammer shovel wrench screwdriver hoe spade ruler needle drill chisel mallet trowel")
# What mends a broken thing: the object, then the means (which carries no obligation).
MENDABLE = {
    "kite": "paper and tape",
    "drum": "leather and glue",
    "lantern": "wire and wax",
    "basket": "reeds and twine",
    "doll": "cloth and thread",
    "puppet": "string and glue",
    "sled": "nails and rope",
    "umbrella": "thread and wire",
    "mug": "clay and glue",
    "teapot": "glue and paint",
    "wagon": "screws and oil",
    "violin": "varnish and glue",
    "guitar": "strings and glue",
    "necklace": "thread and beads",
    "train": "screws and paint",
    "mask": "feathers and paste",
    "crown": "foil and paste",
    "telescope": "tape and brass",
}
MADE_GIFTS = {
    "scarf": "knitted",
    "ring": "twisted",
    "puppet": "carved",
    "necklace": "strung",
    "crown": "folded",
    "mask": "painted",
    "blanket": "stitched",
    "cape": "sewed",
    "bracelet": "braided",
    "kite": "glued",
    "flute": "carved",
    "basket": "wove",
    "mug": "shaped",
    "puzzle": "cut",
    "doll": "stitched",
    "cap": "knitted",
    "whistle": "carved",
    "badge": "painted",
    "postcard": "painted",
    "purse": "sewed",
}
ANIMALS = word_list(
    "kitten puppy duckling lamb rabbit squirrel hedgehog turtle piglet owl chick goat mouse frog"
)

# Every tracked noun: it must be introduced with "a" before "the", "her" or "my" may point at it.
TRACKED = frozenset((*ITEMS, *FOODS, *BUILDS, *TOOLS, *MENDABLE, *MADE_GIFTS, *ANIMALS))

# Fixtures belong to places; the words after the colon are looks that suit them.
_FIXTURES = """
bench:wooden long; fountain:mossy bronze; pond:shallow round; slide:steep shiny; hedge:thick prickly;
bandstand:old empty; shed:crooked dusty; gate:rusty iron; flowerbed:tidy round; wheelbarrow:muddy heavy;
trellis:leafy wooden; sundial:stone ancient; dune:sandy steep; rock:smooth flat; lifeboat:upturned sturdy;
deckchair:folded striped; oak:mighty hollow; stream:narrow icy; log:fallen mossy; bramble:prickly wild;
barn:huge wooden; haystack:tall golden; trough:wide stone; tractor:rusty noisy; henhouse:wooden noisy;
silo:tall round; stall:narrow crowded; barrow:heavy wooden; awning:striped faded; crate:heavy empty;
blackboard:wide dusty; desk:tidy heavy; corridor:long narrow; cloakroom:dark crowded; bookcase:tall dusty;
armchair:soft worn; staircase:winding narrow; globe:huge dusty; counter:long polished; stove:hot iron;
table:round heavy; sink:deep white; cupboard:tall narrow; pantry:dark cool; shelf:high crowded;
quay:slippery stone; crane:giant rusty; barrel:round heavy; anchor:rusty giant; trawler:old sturdy;
millstone:heavy round; waterwheel:giant wooden; sack:bulging heavy; sluice:narrow rusty; stile:wooden crooked;
beehive:busy round; footpath:winding stony; statue:bronze huge; showcase:polished wide; skeleton:giant ancient;
painting:ancient huge; pillar:tall carved; platform:long empty; clock:round giant; signal:tall rusty;
kiosk:tiny striped; turnstile:iron narrow; oven:hot huge; window:wide round; tray:flat shiny;
doorstep:clean stone; trunk:heavy ancient; skylight:tiny dusty; wardrobe:huge carved; rafter:dusty low;
mirror:cracked tall; workbench:sturdy long; toolbox:heavy metal; stool:wobbly low; anvil:heavy iron;
tree:tall leafy; wall:stone crumbling; fence:wooden low; well:deep round; lamppost:tall iron;
noticeboard:crowded wooden; jetty:long wobbly; boathouse:wooden old; willow:leafy bent; canoe:narrow upturned;
boulder:huge smooth; bridge:wobbly stone; ferry:noisy flat; windmill:tall ancient; cairn:stony crooked;
signpost:crooked wooden; tunnel:dark low; ledge:narrow slippery; aviary:noisy airy; railing:iron low;
seesaw:wobbly painted; sandpit:wide sandy; roundabout:painted noisy; flowerpot:cracked clay; hose:long tangled;
cactus:prickly tall; sprinkler:rusty noisy; cellar:dark cool; winepress:ancient heavy; stage:wide wooden;
curtain:heavy velvet; balcony:high narrow; piano:shiny grand; trapdoor:narrow creaky; carousel:painted shiny;
booth:tiny painted; maze:leafy tangled; campfire:smoky warm; hammock:striped saggy; caravan:painted cosy;
archway:mossy stone; pump:iron rusty; waterfall:roaring icy; cottage:cosy crooked; palm:tall bent;
lagoon:clear shallow; wreck:hollow ancient; manger:wooden full; saddle:leather worn; hayloft:dusty high;
bale:heavy golden; easel:wooden tall; kiln:hot round; doorway:low wide; fireplace:stone smoky; cradle:carved wooden
"""
FIXTURES: dict[str, tuple[str, ...]] = {}
for _entry in _FIXTURES.replace("\n", " ").split(";"):
    _noun, _looks = _entry.strip().split(":")
    FIXTURES[_noun] = tuple(_looks.split())

# place -> (preposition, outdoors?, fixtures)
_PLACES = """
park in 1 bench fountain pond slide hedge bandstand
garden in 1 shed gate flowerbed wheelbarrow trellis sundial
beach on 1 dune rock lifeboat deckchair kiosk
forest in 1 oak stream log bramble footpath
farm on 1 barn haystack trough tractor henhouse silo
market at 1 stall barrow awning crate barrel
school at 0 blackboard desk corridor cloakroom globe
library in 0 bookcase armchair staircase globe counter
kitchen in 0 stove table sink cupboard pantry shelf
harbour at 1 quay crane barrel anchor trawler
mill at 0 millstone waterwheel sack sluice doorway
meadow in 1 stile beehive footpath haystack bramble
museum in 0 statue showcase skeleton painting pillar
station at 1 platform clock signal kiosk turnstile
bakery in 0 oven counter window tray doorstep
attic in 0 trunk skylight wardrobe rafter mirror
workshop in 0 workbench toolbox stool anvil shelf
orchard in 1 tree wall fence well wheelbarrow
square in 1 fountain statue lamppost noticeboard well
lake at 1 jetty boathouse willow canoe boulder
river at 1 bridge willow ferry boulder footpath
hill on 1 windmill cairn boulder signpost stile
cave in 0 tunnel ledge pillar boulder stream
zoo at 1 aviary turnstile kiosk railing pond
playground in 1 slide seesaw sandpit roundabout fence
greenhouse in 0 flowerpot hose cactus sprinkler shelf
vineyard in 1 trellis cellar winepress wall footpath
theatre in 0 stage curtain balcony piano trapdoor
fair at 1 carousel booth maze stall bandstand
campsite at 1 campfire hammock log caravan signpost
courtyard in 1 well archway pump lamppost wall
valley in 1 stream bridge waterfall cottage footpath
island on 1 palm lagoon dune wreck rock
stable in 0 manger saddle hayloft bale trough
studio in 0 easel kiln workbench stool window
cabin in 0 fireplace cradle table doorway trunk
"""
PLACES: dict[str, tuple[str, bool, tuple[str, ...]]] = {}
for _line in _PLACES.strip().splitlines():
    _name, _prep, _out, *_fixtures = _line.split()
    PLACES[_name] = (_prep, _out == "1", tuple(_fixtures))

# Brave deeds: fixture -> (what one wants to do, what one did).
DEEDS = {
    "slide": ("slide down", "slid down"),
    "dune": ("climb", "climbed"),
    "oak": ("climb", "climbed"),
    "stream": ("jump over", "jumped over"),
    "haystack": ("climb", "climbed"),
    "staircase": ("climb", "climbed"),
    "stile": ("climb over", "climbed over"),
    "tree": ("climb", "climbed"),
    "wall": ("climb over", "climbed over"),
    "jetty": ("dive off", "dived off"),
    "boulder": ("climb", "climbed"),
    "bridge": ("cross", "crossed"),
    "tunnel": ("crawl through", "crawled through"),
    "maze": ("walk through", "walked through"),
    "palm": ("climb", "climbed"),
    "willow": ("climb", "climbed"),
    "log": ("jump over", "jumped over"),
    "hayloft": ("climb into", "climbed into"),
    "trapdoor": ("crawl through", "crawled through"),
    "wreck": ("explore", "explored"),
    "cellar": ("explore", "explored"),
    "ledge": ("climb over", "climbed over"),
    "fence": ("jump over", "jumped over"),
    "carousel": ("ride", "rode"),
    "quay": ("dive off", "dived off"),
    "corridor": ("walk through", "walked through"),
    "rock": ("climb", "climbed"),
    "pantry": ("explore", "explored"),
}
# Promised chores: what one promises to do, what one did; the last word names the chore.
CHORES = {
    "feed the hens": "fed the hens",
    "water the seedlings": "watered the seedlings",
    "sweep the floor": "swept the floor",
    "wash the plates": "washed the plates",
    "pick the beans": "picked the beans",
    "feed the geese": "fed the geese",
    "post the letters": "posted the letters",
    "gather the eggs": "gathered the eggs",
    "stack the firewood": "stacked the firewood",
    "rake the leaves": "raked the leaves",
    "fold the towels": "folded the towels",
    "peel the potatoes": "peeled the potatoes",
    "brush the pony": "brushed the pony",
    "polish the boots": "polished the boots",
    "dust the lamps": "dusted the lamps",
    "carry the milk": "carried the milk",
    "shell the peas": "shelled the peas",
    "weed the vegetables": "weeded the vegetables",
    "mop the stairs": "mopped the stairs",
    "hang up the laundry": "hung up the laundry",
}

GLAD = word_list("happy glad joyful delighted pleased thrilled overjoyed content elated")
SAD = word_list("sad upset worried unhappy lonely gloomy sorry miserable troubled tearful")
AFRAID = word_list("afraid scared nervous frightened")
ANIMAL_LOOKS = word_list("small little tiny young frightened fluffy brown white grey spotted")
