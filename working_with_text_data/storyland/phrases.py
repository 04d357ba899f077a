"""Phrases that any Storyland story may use: openings, scenery, feelings, endings.

What for: variety without obligations. The idea: these templates carry only
names, the place and its fixtures; weather, smells, sounds and hobbies use words
that nothing else in a story has to agree with. Leaves out: the plots
(``plots``).
"""

from __future__ import annotations

HOBBIES = (
    "count the clouds",
    "collect smooth pebbles",
    "compose cheerful songs",
    "draw dragons with chalk",
    "read about pirates",
    "hum old melodies",
    "chase butterflies",
    "watch the stars",
    "invent funny riddles",
    "walk barefoot in the grass",
    "fold paper birds",
    "listen to the rain",
    "tell tall tales",
    "learn new words",
    "dance on tiptoe",
    "look for shells",
    "follow snails",
    "paint tiny portraits",
    "play hopscotch",
    "ask questions",
    "skip stones",
    "study insects",
    "imitate owls",
    "make daisy chains",
    "write secret messages",
    "juggle walnuts",
    "sing in the bath",
    "race against the wind",
    "sketch sleepy cats",
    "solve mysteries",
    "plan great journeys",
    "bake gingerbread",
    "gather acorns",
    "climb every hill in sight",
    "talk to strangers' dogs",
    "save foreign stamps",
    "stare at the moon",
    "practise magic tricks",
    "wear mismatched socks",
    "build sand tunnels",
    "press wild flowers",
    "name the planets",
    "swim before breakfast",
    "feed the sparrows",
    "recite silly rhymes",
    "catch falling leaves",
    "dream about faraway oceans",
    "help the neighbours",
    "splash through puddles",
    "sort buttons by size",
    "taste snowflakes",
    "guess the weather",
    "pretend to be a pilot",
    "ride bumpy lanes",
    "explore hidden corners",
    "mend torn sleeves",
    "memorise long poems",
    "arrange dried petals",
    "spin until the world turned",
    "speak to the sheep",
)

OPENINGS = (
    "[Once upon a time|Long ago|Not so long ago], there [lived|was] a~ {trait} {kid} [named|called] {A} who "
    "[liked|loved] to {hobby}.",
    "[Once upon a time|Long, long ago|Many years ago], in a~ {town}, there lived a~ {trait} {kid} [named|"
    "called] {A}.",
    "{A} was a~ {trait} {kid} who [liked|loved] to {hobby}[| more than anything|| every day].",
    "There was once a~ {trait} {kid} called {A}. [Most days|Every day|Every morning], {he} liked to {hobby}.",
    "In a~ {house} {nearplace}, there lived a~ {trait} {kid} [named|called] {A}.",
    "This is the story of a~ {trait} {kid} [named|called] {A} who lived {nearplace}.",
    "[Everyone|Everybody] {nearplace} knew {A}, a~ {trait} {kid} who [liked|loved] to {hobby}.",
    "{A} was a~ {trait} {kid}. [More than anything, {he} loved|{He} liked|Every evening, {he} liked] to "
    "{hobby}.",
    "{A}, a~ {trait} {kid} with {feature}, lived in a~ {house} {nearplace}.",
    "Far away, in a~ {town}, a~ {trait} {kid} [named|called] {A} [liked|loved] to {hobby}.",
    "In a~ {town} there was a~ {trait} {kid} called {A}, who had {feature} and [liked|loved] to {hobby}.",
    "{A} was a~ {trait} {kid} with {feature} and a~ [loud|ready|hearty|musical] laugh.",
)
TOWNS = (
    "tiny village",
    "sleepy village",
    "windy town",
    "busy town",
    "little town by the sea",
    "village full of chimneys",
    "small town between two mountains",
    "village at the edge of the world",
    "cheerful town with crooked streets",
    "quiet village under the cliffs",
    "snowy mountain village",
    "town where every door was a different colour",
)
HOUSES = (
    "small white house",
    "tall brick house",
    "crooked house with green shutters",
    "little house with a red roof",
    "narrow house full of clocks",
    "house with round chimneys",
    "noisy house",
    "cosy house with yellow doors",
    "house made of pale timber",
    "blue house with a creaking porch",
)
FEATURES = (
    "curly hair",
    "bright eyes",
    "freckles",
    "a gap between two teeth",
    "muddy knees",
    "long eyelashes",
    "round spectacles",
    "ink on every finger",
    "a woolly jumper",
    "pockets full of pebbles",
    "untidy hair",
    "a patched coat",
    "enormous boots",
    "dimples",
    "a crooked fringe",
    "sunburnt cheeks",
    "odd socks",
)
# Who is where: each one states the place, so that what follows can point at its fixtures.
ARRIVALS_ALONE = (
    "One {time}, {A} [was|sat|played] {at}.",
    "One {time}, {A} [went|walked|ran|strolled] to {place}.",
    "It was a~ {time}, and {A} was {at}.",
    "On a~ {time}, {A} [went|hurried|wandered|skipped] to {place}[| all alone|| with a light step].",
    "[That|One] {season}, {A} [often played|spent many hours] {at}.",
    "One {time}, {A} was {at}, [not far from|close to|right beside] {f3}.",
)
ARRIVALS_TOGETHER = (
    "One {time}, {A} was {at} with {his} {rel} {B}.",
    "One {time}, {A} and {his} {rel} {B} [went|walked|raced|hurried] to {place}.",
    "On a~ {time}, {A} met {his} {rel} {B} {at}.",
    "It was a~ {time}, and {A} [was|played] {at} with {his} {rel} {B}, a~ {btrait} {bkid}.",
    "{A} had a~ {btrait} {rel} named {B}. One {time}, the two of them [went|walked] to {place}.",
    "One {time}, {A} and {his} {rel} {B} were {at}, [not far from|close to|right beside] {f3}.",
)
B_COMES = (
    "[Just then|Soon|A moment later|Before long], {his} {rel} {B} [came by|came along|walked up|arrived].",
    "[Luckily|Happily], {his} {rel} {B} was [close by|not far away|nearby].",
    "Then {B}, {his} {btrait} {rel}, [came by|came running|walked past|appeared].",
    "{A}'s {rel} {B} [came over|noticed|stopped|saw that at once].",
)
_ANY_TIME = (
    "sunny morning",
    "windy afternoon",
    "rainy day",
    "bright afternoon",
    "misty morning",
    "quiet afternoon",
    "foggy morning",
    "golden evening",
    "cloudy day",
    "breezy day",
    "Saturday morning",
    "Sunday afternoon",
    "drizzly afternoon",
    "Monday after school",
)
TIMES = {
    "summer": (*_ANY_TIME, "summer morning", "hot afternoon", "warm evening", "July evening"),
    "spring": (*_ANY_TIME, "spring day", "fine May morning", "mild evening"),
    "winter": (*_ANY_TIME, "winter morning", "frosty morning", "cold morning", "chilly evening"),
    "autumn": (*_ANY_TIME, "autumn afternoon", "chilly evening", "October morning", "blustery day"),
}
SURROUNDINGS = ("coast", "cliffs", "border", "mountains", "railway", "church", "canal")
SEASONS = ("summer", "spring", "winter", "autumn")

OUTDOOR_SCENES = (
    "A~ [robin|sparrow|blackbird|thrush|finch|wren|lark|starling] [sang|chirped|whistled|twittered] "
    "[overhead|nearby|above {s3}|from {s3}].",
    "A~ [soft|cool|gentle|salty|playful|lazy|sharp] [breeze|wind] [tugged at|ruffled|tickled|lifted] {his} "
    "[hair|sleeves|collar|coat].",
    "The air smelled of [mint|clover|wet earth|pine|honey|smoke|cut grass|lavender|seaweed|rosemary|thyme|"
    "blossom].",
    "[Pale|Thick|Woolly|Silvery|Heavy|Pink] clouds [drifted|floated|sailed|rolled] across the sky.",
    "[Bees|Crickets|Beetles|Dragonflies|Gnats|Grasshoppers] [hummed|buzzed|danced|hovered] [around|above|"
    "near] {f2}.",
    "Sunlight [glittered|sparkled|shimmered|glowed] on {f2}.",
    "The ground was [soft|damp|warm|dusty|slick|crisp] under {his} [feet|toes|shoes|heels].",
    "[Far off|Somewhere|In the distance|Beyond {s2}], a [dog barked|rooster crowed|foghorn blew|donkey "
    "brayed|"
    "cuckoo called|woodpecker drummed|hawk cried|motor coughed].",
    "The sun [shone|blazed|peeped out|stood high] [over|above] {f3}.",
    "[Moss|Dew|Ivy|Dust|Pollen|Lichen|Dry leaves] [covered|coated|clung to] {f3}.",
    "[Swallows|Gulls|Pigeons|Magpies|Crows|Geese] [circled|wheeled|swooped|glided] [high above|over] {f2}.",
    "The sky was [as blue as a cornflower|clear and wide|grey as slate|streaked with pink|the colour of "
    "apricots|full of feathery clouds].",
    "A~ [snail|beetle|caterpillar|lizard|toad|ladybird] [crept|crawled|climbed] slowly along {f3}.",
    "[Shadows|Petals|Leaves|Seeds|Sparks of light] [trembled|danced|fell|drifted] [around|beside|near] {f2}.",
)
INDOOR_SCENES = (
    "Dust [danced|floated|glittered|drifted] in a beam of [light|sunlight|lamplight].",
    "The air smelled of [polish|old paper|cinnamon|soap|candles|warm bread|vanilla|sawdust|coffee|pepper|"
    "wet wool|nutmeg].",
    "Somewhere [a tap dripped|a floorboard creaked|a pipe gurgled|a hinge squeaked|a shutter rattled|a "
    "kettle hissed|"
    "a footstep echoed|a radio murmured].",
    "A~ [spider|moth|beetle|fly|ladybird] [crept|crawled|wandered] slowly along {f3}.",
    "Rain [drummed|pattered|tapped|whispered] on the roof.",
    "It was [cool|warm|dim|bright|hushed|peaceful|chilly] inside, and [everything|every sound] seemed "
    "[far away|slow|very soft|close].",
    "A~ [thin|golden|narrow|dusty] [ray|finger|stripe] of light fell across {f3}.",
    "[Cobwebs|Papers|Ribbons of smoke|Faded curtains|Old coats|Strings of onions] hung [near|above|"
    "beside] {f2}.",
    "A~ [lazy|fat|sleepy|ginger|striped|elderly] cat [snored|purred|stretched|yawned|dozed] [beside|near] "
    "{f2}.",
    "The [old walls|wooden boards|heavy beams|thick stones] [sighed|creaked|groaned|whispered] in the wind.",
    "Outside, [the wind howled|a carriage rumbled past|the street was busy|rain trickled down the gutters|"
    "pigeons cooed|a gardenful of bees hummed].",
)

SAD_SIGNS = (
    "[A tear|A big tear] [rolled|ran|slid] down {his} [cheek|nose|chin].",
    "{His} [lip|chin|voice] [trembled|shook|quivered].",
    "{He} [sighed|sniffed|swallowed hard|blinked back the tears|stared at the ground|hung {his} head].",
    "It felt as if [the sun had gone out|a stone sat in {his} stomach|the whole day had turned grey|the "
    "wind had stolen all the colours].",
)
GLAD_SIGNS = (
    "{A} [laughed|cheered|beamed|grinned|giggled] and [clapped {his} hands|jumped up and down|spun in a "
    "circle|threw {his} arms in the air|did a little dance].",
    "{A}'s [eyes shone like two stars|face lit up like the sunrise|eyes sparkled like candles|cheeks "
    "glowed like apricots|face shone like a full moon].",
    "{A} [hugged|thanked] {B} [again and again|with all {his} heart|so tightly that both nearly fell over|"
    "three times].",
    "{A} felt as [light as a leaf|warm as toast|tall as a giant|free as a bird|rich as a king|bright as a "
    "star].",
    "{B} [bowed|winked|blushed|nodded] and [smiled|grinned] from ear to ear.",
)
GLAD = (
    "[{A}|{Ah}] was [so|truly|really] {glad}.",
    "{A} felt {glad} [at last|from head to toe|once more], and so did {B}.",
    "[Now|At last|Finally] {A} was {glad}[|, and {B} was {glad2} too].",
    "Both {A} and {B} were {glad}.",
    "[{A}|{Ah}] had never felt so {glad}.",
)
THANKS = (
    '"Thank you, {B}[|, thank you]!" [said|cried|called|exclaimed] {A}. "You are [the best {rel}|a true '
    '{rel}|so kind|very clever|wonderful]."',
    '"[Oh, thank|Thank] you [so|very] much," {A} [said|whispered|murmured]. "[I will never forget this|'
    'You have a kind heart|I could not have done it alone|I am lucky to know you]."',
    '"I am so {glad}!" [said|cried|exclaimed|shouted] {A}.',
    '"That was [easy|fun|nothing|a pleasure]," said {B}. "[You would do the same for me|I would help you '
    'any time, {A}|That is what {rel}s are for]."',
)

# Every story closes with exactly one of these; the checker knows their cues by its own list.
ENDINGS = (
    "From that day on, {A} and {B} [were the best of friends|played together every day|helped each other "
    "with everything|were never far apart|shared all their secrets|met {at} every week].",
    "That night, {A} [fell asleep with a smile|dreamed of {dream}|slept better than ever|lay awake and "
    "thought about the day|wrote it all down in a diary].",
    "{A} and {B} walked home [hand in hand|side by side|arm in arm|slowly] as [the sun went down|the "
    "stars came out|the moon rose|lamps were lit in the windows|the sky turned violet|evening fell].",
    "[On that day|That day], {A} learned that {lesson}.",
    "After that, {A} [never forgot|always remembered] that {lesson}.",
    "It was the best [day|afternoon|adventure] of the whole {season}.",
    "[At supper|At bedtime|Over supper|By candlelight|That evening], {A} told {his} {elder} [the whole "
    "story|everything|all about it|every detail], [and the {elder} laughed|and everyone listened|from "
    "beginning to end|twice].",
    "And that is how {A} and {B} [became the best of friends|learned to trust each other|found out that "
    "{lesson}|had the finest day of the {season}].",
    "What a~ [lovely|wonderful|perfect|splendid|marvellous|magnificent|curious|busy] day it had been!",
    "[When evening came|When the stars came out|When the moon rose|As the sun went down], {A} and {B} "
    "went home, tired but {glad}.",
    "[Ever since|Ever since that day], {A} [smiles|grins|thinks of {B}] whenever {he} [passes|sees|walks "
    "past] {f1}.",
    "[Ever after|To this day], {A} and {B} [remember|believe|say] that {lesson}.",
    'And when {A} is asked about it, {he} only says, "{Lesson}."',
)
DREAMS = (
    "flying over the rooftops",
    "silver whales",
    "a parade of elephants",
    "talking trees",
    "an island made of sugar",
    "dancing penguins",
    "a ship with purple sails",
    "a friendly dragon",
    "a city in the clouds",
    "gentle giants",
    "tigers in top hats",
    "a ladder to the moon",
    "a meadow full of music",
    "singing mermaids",
    "polar bears on skates",
)
FRIEND_LESSONS = (
    "two heads are better than one",
    "a good friend is worth more than gold",
    "a little kindness goes a long way",
    "many hands make light work",
    "there is always a way",
    "help is never far away",
)


def template_strings() -> tuple[str, ...]:
    """Every general template, for tests that parse, count or list the words of them all."""
    return (
        *OPENINGS,
        *ARRIVALS_ALONE,
        *ARRIVALS_TOGETHER,
        *B_COMES,
        *OUTDOOR_SCENES,
        *INDOOR_SCENES,
        *SAD_SIGNS,
        *GLAD_SIGNS,
        *GLAD,
        *THANKS,
        *ENDINGS,
    )
