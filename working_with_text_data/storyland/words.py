"""The plain vocabulary of Storyland, by word class.

What for: two rules of the checker. A word that stands in no class here and in no
table of ``world`` is not a Storyland word; and a sentence whose words
cannot be read as an allowed sequence of classes is not English
(``syntax``). A word may be in several classes. Leaves out: words that
carry obligations (``world``), which get their classes at the end.
"""

from __future__ import annotations

from functools import cache

from . import world

_CLASSES = {
    "article": "a an the his her its my your their every no",
    "quantifier": "bit every this that each another some any both two three four seven ten hundred many "
    "more most enough all half "
    "one other others few no",
    "adjective": "mild blustery windy missing angry own barefoot bumpy pounding dearer alone asleep "
    "astonished awake bad beautiful best better bigger bored breezy broken busy careful "
    "chilly clear clenched clever close closed cloudy clumsy cold cosy crooked curly cracked damp "
    "dangerous dark "
    "dear dearer different dim dirty drizzly dried dry dull dusty early easy easier elderly enormous "
    "faint falling "
    "far faraway fat feathery fine finer finest first foggy fond foreign forgotten free friendly frosty "
    "full funny "
    "ginger gloomy good grand great green hard harder hearty heavy hidden hopeless hot hungry hushed ill "
    "last lazy "
    "left lopsided lost loud magic magnificent marvellous mismatched misty muddy musical narrow near "
    "nearby new next "
    "nice noisy odd old older only open pale patched peaceful perfect pink playful polar poor present "
    "prettier proud "
    "quick quiet rainy ready real rich right round ruined salty same scared scarier secret sharp short "
    "shy silly "
    "silvery sleepy slick slow small smaller smallest smoky smooth snowy soft sorry splendid steady steep "
    "sticky "
    "still straight strong stronger stuck such sunburnt sunny sure sweet sweeter tall tempted tempting "
    "terrible "
    "thick thin timid tiny tired tiring torn true tied trembling ugly unlit untidy violet warm wet whole "
    "wide wild wise "
    "wonderful woolly worth wrong yellow young gentle high low bright clean cool crisp golden scraped "
    "cold wooden "
    "red polite fair safe deep curious lovely wrapped careful certain wool pine tidy dead",
    "noun": "coast border railway church canal july october footstep joy one brick box nod penguin "
    "listener promise while break start go dance means might snap acorn adventure advice "
    "afternoon air animal apricots apron arm autumn bag bath beam bear bed bedtime bee "
    "beetle beginning bird birthday bit blade bread breakfast breath breeze brow bunch candle candlelight "
    "cardboard "
    "care carriage cat caterpillar chalk chance cheek chicken child chin choir cinnamon circle circus "
    "city clay cloth "
    "clover coat coffee collar colour corner cornflower count courage course cow crack crash creature "
    "crow crumb cry "
    "cuckoo daisy dawn day detail dew diary distance dog donkey door dragon drawing dream drink dusk dust "
    "ear earth "
    "edge end evening eye eyebrow face family fear feast finch finger firewood floor floorboard fly "
    "foghorn foil food "
    "freckle friend fringe frost fun gap gardenful gift giggle gingerbread girl boy glass glue gold grass "
    "grin ground "
    "gust hair half hand handful handshake hat hawk hay head heart help hen hinge hole holiday home honey "
    "hopscotch "
    "hour house idea ink island ivy jacket jelly joke journey jumper kettle kindness king kitten knee "
    "knot ladder "
    "ladybird lamp lamplight lane lark laugh laughter laundry lavender leaf leather lesson letter lichen "
    "light line "
    "lion lip lizard look love luck lunch magpie map market matter meal medicine melody milk mind mint "
    "minute moment "
    "money moon morning moss moth motor mountain mouth mud music mystery nail name neck night nightmare "
    "noise noon "
    "nose nothing nutmeg oil onion paint pair paper parade part past paste patience peace penny people "
    "pepper pet "
    "picnic picture piece pilot pine pipe place plan plank play pleasure pocket point polish pollen pond "
    "pony porch "
    "potato present pride promise puddle question race radio rag rain rainbow ray rest road robin roof "
    "room rooster "
    "rope rose rosemary rustle sand sawdust scar school sea season seaweed secret shadow sheep shell ship "
    "shirt shutter "
    "side sight size sky slate smile smoke snail snow soap song sorrow sort sound spider spring squeak "
    "star starling "
    "step stomach stone story straw street string stripe stroke sugar summer sun sunlight sunrise supper "
    "sweater swing "
    "table tale tap tape taste tear thanks thing thorn thought thread thrush thunder thyme time tiptoe "
    "toad toast today "
    "toe tooth top town toy trade treasure trick trouble trust truth tune turn twine vanilla varnish view "
    "village "
    "voice walk walrus water wax way weather week wind winter wire wish wizard wool woodpecker word work "
    "world wren "
    "writing year blackbird sparrow whale wool brass finger forest monday saturday sunday may belly "
    "supper blossom "
    "cloud stomach toast others none hens timber cuckoo coughing wave",
    "plural": "eyelashes candles gutters pairs cheeks returns edges dogs sails acorns animals arms beads "
    "beams beans bears bees beetles birds bites boards bolts books boots boxes boys "
    "branches bricks brothers butterflies buttons candles cards cartwheels cats chains chimneys "
    "classmates cliffs "
    "clocks clouds coats cobwebs coins colours cones corners cousins crates crickets crows crumbs "
    "curtains daisies days "
    "dimples doors dragonflies dragons eggs elephants eyes feathers feet ferns fingers fireworks fists "
    "flags flowers "
    "footsteps freckles friends geese giants gifts girls gnats grasshoppers grins gulls hands hats heads "
    "heels hens "
    "holidays hours insects jokes journeys knees knots lamps lanes leaves legs letters lips logs magpies "
    "melodies "
    "mermaids messages mountains mysteries nails neighbours oceans onions owls papers parts pebbles peas "
    "pennies "
    "penguins people petals pieces pigeons pirates plaits planets planks plates pockets poems poles "
    "portraits potatoes "
    "puddles questions rags reeds rhymes ribbons riddles rooftops savings screws secrets seedlings seeds "
    "shadows shells "
    "shoes shops shutters sides sisters skates sleeves snails snowflakes socks songs sounds sparks "
    "sparrows spectacles "
    "stairs stamps stars steps sticks stones strangers streets strings swallows tales tears teeth thanks "
    "things thorns "
    "tigers times toes tools towels trees tricks tries tubes tunnels turns vegetables walls walnuts weeks "
    "whales wheels "
    "windows words works years beams sheets pipes boulders needles wings ways hills sheep lessons parts "
    "others two both",
    "subject": "he she they it i we you who everyone everybody nobody someone something everything "
    "nothing anything "
    "there this that what both others one",
    "object": "him her them me us you it himself herself themselves yourself everyone everybody nobody "
    "someone "
    "something everything nothing anything each other which mine whatever",
    "past": "trickled belonged closed clenched faded ached added admired admitted agreed answered "
    "appeared arrived asked ate balanced barked beamed became began "
    "begged belonged bent bit blazed blew blinked blushed bored borrowed bought bowed braided brayed "
    "broke brought brushed "
    "built bumped buzzed called came carried carved caught chatted checked cheered chirped circled "
    "clapped climbed clung "
    "coaxed coated collected cooed coughed could counted covered cracked crawled creaked crept cried "
    "crossed crouched "
    "crowed cut danced did dived dozed dreamed drew drifted dripped dropped drummed dusted echoed "
    "exclaimed explained "
    "explored fed fell felt fetched finished fitted floated folded followed forgot found freed frowned "
    "gasped gathered "
    "gave gazed giggled glanced glided glittered glowed glued got grabbed grinned groaned growled gurgled "
    "hammered handed "
    "happened heard held helped hesitated hissed hit hovered howled hugged hummed hung hunted hurried "
    "hurt jumped juggled "
    "kept knew knitted knocked laughed lay leaned learned left lent licked lifted liked listened lit "
    "lived lived longed "
    "looked lost loved made measured mended met milked moaned mopped moved mumbled murmured muttered "
    "needed nodded "
    "noticed nuzzled offered opened paced packed painted passed patched pattered peeked peeled peeped "
    "peered picked played "
    "pointed polished pondered posted pounded practised pressed promised pulled purred pushed put "
    "quivered raced raised "
    "raked ran rang rattled reached read remembered replied rocked rode rolled rose rubbed ruffled "
    "rumbled said sailed "
    "sang sat saw scratched searched seemed set sewed shaped shared shelled shimmered shivered shone "
    "shook shouted "
    "showed shrugged sighed skipped slept slid slipped smelled smiled snapped sniffed snored sobbed "
    "sparkled spent spoke "
    "spoiled spun squeaked squeezed stacked stared started stepped stitched stole stood stopped stretched "
    "strolled struck "
    "strung stumbled suggested swallowed swapped swept swooped talked tapped taught thanked thought threw "
    "tickled tied "
    "told took traded trembled tried tripped tugged turned twisted twittered unwrapped used waddled "
    "waited walked wandered "
    "wanted washed watched watered waved weeded went wheeled whimpered whispered whistled winked wiped "
    "wished wobbled "
    "wondered woke wore worked wove wrapped wriggled wrote yawned was were had would could did might must "
    "rested ended joined visited twinkled hurried swam flew won hopped planted studied cooked cleaned "
    "fished baked",
    "base": "trust mind promise rake arrange ask bake be become beg believe break build buy call care "
    "carry catch chase cheer climb collect come "
    "compose cost count crawl cross cry cut dance dive do draw dream drink dry dust eat end enjoy explore "
    "fall feed feel "
    "find finish fly fold follow forget free gather get giggle give go grab guess hang have help hold hum "
    "hunt hurry "
    "imitate invent juggle jump keep know laugh lay learn leave let lie like listen live look lose love "
    "make manage "
    "matter memorise mend mop move name need open paint part peel pet pick plan play polish post practise "
    "press pretend "
    "put race rain read recite remember rest return ride run save say search see seem set share shell "
    "shine shout show "
    "sing sit sketch skip sleep smell smile solve sort speak spin splash stack stare start stop study "
    "swap sweep swim "
    "swing take talk taste tell thank think throw touch trade try turn use wait walk wash watch water "
    "wave wear weed "
    "whisper whistle win wish work worry write cheer carry brush",
    "present": "tells means promise sounds knows hurts is are am has have says smiles grins thinks passes "
    "sees walks believe remember say matters deserves "
    "makes mends goes gets grows tastes wait needs pays know need think want love like comes takes does "
    "dances lives "
    "means keep hope feels keeps smile helps holds hears loves happens rests do",
    "gerund": "crying being asking beginning coming creaking dancing falling flying getting giving going "
    "growling juggling "
    "keeping listening living looking making playing racing raining roaring running shaking sharing "
    "singing sleeping "
    "smiling sitting starting talking trying waiting walking whimpering working doing",
    "participle": "belonged been made accepted allowed astonished asked become been bored borrowed bought "
    "broken brought built called "
    "carried carved chosen closed come covered crawled done drawn dried eaten fallen finished folded "
    "forgotten found "
    "freed given gone had heard held helped hidden hurt kept known laughed left lent lit lost made mended "
    "missed moved "
    "named painted paid patched played promised put read ruined said scared scraped seen sewn shared "
    "spoiled spent "
    "stolen stuck swept tempted tied tired told torn traded tried turned used wanted wished worn wrapped "
    "written "
    "streaked delighted called felt",
    "modal": "can cannot could will would may might must should shall do does did was were is are am be "
    "been had has have",
    "negation": "not never",
    "giver": "gave handed give told lent taught asked brought send",
    "receiver": "him her them me us you",
    "relation": "friend neighbour cousin classmate brother sister",
    "particle": "with for by through near inside behind to up down off out away back by along over around "
    "past in on aloud apart together home",
    "preposition": "about above across after against along around as at before behind below beside "
    "between beyond by close "
    "during except for from in inside into like near next of off on onto out outside over past round "
    "since than through "
    "under until upon with without because instead across",
    "conjunction": "and but or so because that if when while until whenever as who which where than "
    "before after since "
    "yet what how why though for whether only",
    "adverb": "times even afterwards again ago ahead almost alone along aloud already also always anyway "
    "anywhere around away back "
    "badly before best better carefully closely dearly down early else enough ever everywhere far fast "
    "finally first "
    "forever gently gladly gratefully happily hard hardly here high highly home how indeed inside instead "
    "just kindly "
    "last late later left like long loudly low luckily maybe more most much near nearby nearly never next "
    "nicely not now "
    "off often oh on once only out outside over overhead perhaps politely proudly quickly quietly quite "
    "rather really "
    "right sadly silently slowly so softly somehow sometimes somewhere soon still straight suddenly "
    "sweetly then there "
    "tightly today together tomorrow too truly twice under up usually very well whenever why wildly "
    "wisely yes yet "
    "three hmm vain of two all easily full everywhere away half too within close twice no both",
    "to": "to",
}
_PUNCTUATION = {",": "comma", ".": "end", "!": "end", "?": "end", "§": "quote", ":": "comma", ";": "comma"}


@cache
def lexicon() -> dict[str, frozenset[str]]:
    """Every Storyland word (lower case) with its word classes."""
    classes: dict[str, set[str]] = {}

    def put(name: str, words: object) -> None:
        for word in words:  # type: ignore[attr-defined]
            for piece in str(word).lower().split():
                classes.setdefault(piece, set()).add(name)

    for name, text in _CLASSES.items():
        put(name, text.split())
    put("name", world.GENDER)
    put("relation", world.ELDERS)
    put("receiver", world.GENDER)
    for nouns in (world.TRACKED, world.FIXTURES, world.PLACES, world.HELPERS, world.ELDERS, world.RELATIONS):
        put("noun", nouns)
    for looks in (
        world.COLOURS,
        world.ITEM_LOOKS,
        world.FOOD_LOOKS,
        world.ANIMAL_LOOKS,
        world.TRAITS,
        world.GLAD,
        world.SAD,
        world.AFRAID,
        *world.FIXTURES.values(),
    ):
        put("adjective", looks)
    put("past", world.MADE_GIFTS.values())
    for mark, name in _PUNCTUATION.items():
        classes[mark] = {name}
    return {word: frozenset(names) for word, names in classes.items()}
