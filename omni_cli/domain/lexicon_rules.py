"""Word tables of the rules: what is made, verbs of making, names of tongues, signs of trouble.

Own work. Plain words, whole and in lower case.
"""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: Verbs (and nouns) that announce that something is to be made.
MAKE = _set("""
    add build code compose construct convert craft crea create crie crée design develop draft
    draw entwirf erstelle escreva escribe faça genera generate give génère haz hazırla implement
    implementa implemente implementiere implémente maak make napisz napiš need oluştur paint
    port prepare produce program provide redacta redija refactor rewrite rédige schreib schreibe
    schrijf script scrivi set show skapa skriv stwórz tạo utwórz verfasse viết vytvoř want write
    yaz écris напиши реализуй сделай создай составь أنشئ اكتب बनाइए बनाएं बनाओ लिखिए लिखें
""")
#: Kind of making -> things made.
THINGS: dict[str, frozenset[str]] = {
    "code": _set("""
        generator formatter counter gallery form queue
        parser tracker clone game server client validator
        function functions program script class classes method code query regex endpoint api
        component decorator parser module library bot app application crawler compiler daemon
        macro dockerfile makefile workflow migration schema algorithm cli helper loop struct
        trait interface extension plugin webpage website pipeline service backend one-liner
        formula playbook sketch funktion skript programm klasse abfrage fonction programme
        classe requête función programa clase consulta função funzione funkcję zapytanie функцию
        скрипт программу класс запрос fonksiyon دالة برنامج फ़ंक्शन hàm funkci python javascript
        typescript java rust sql bash html css react kubernetes terraform unit pytest
    """),
    "prose": _set("""
        poem story essay email mail letter blog article speech song lyrics haiku sonnet limerick
        toast eulogy monologue dialogue scene novel chapter tale fable caption tweet post thread
        slogan tagline taglines headline headlines newsletter brochure ad advert advertisement
        copy description review note message reply memo report proposal plan resume cv biography
        bio obituary screenplay presentation paragraph sentence title titles narrative recipe
        contract agreement policy press invitation statement notice template guide gedicht
        geschichte brief aufsatz kündigung einladung poème histoire lettre conte courriel poema
        cuento correo carta historia conto história poesia racconto lettera verhaal wiersz
        opowiadanie стихотворение рассказ письмо сказку эссе şiir masal öykü mektup قصيدة قصة
        رسالة कविता कहानी पत्र thơ thư báseň dikt farewell marketing materials
    """),
    "picture": _set("""
        image picture photo drawing painting illustration logo icon poster wallpaper portrait
        watercolor cartoon avatar bild zeichnung dessin imagen dibujo imagem desenho immagine
        disegno obraz картинку изображение рисунок resim صورة चित्र
    """),
    "facts": _set("""
        list table json csv keywords names entities fields dates
    """),
    "digest": _set("""
        summary recap synopsis overview minutes tldr digest zusammenfassung résumé resumen
        resumo riassunto samenvatting ملخص सारांश özet
    """),
    "thought": _set("""
        analysis comparison evaluation assessment critique swot matrix
    """),
    "study": _set("""
        literature bibliography survey research meta-analysis study
    """),
    "proof": _set("""
        proof argument derivation
    """),
    "talk": _set("""
        ideas tips suggestions advice itinerary recommendations questions jokes
    """),
}
#: Words that end a group of nouns.
GROUP_ENDS = _set("""
    about of for in on that which to with from who where when
    as by and or a an the using , . : ; ( -
    für über sur pour sobre per про о для hakkında
""")
#: Names of languages and of their speakers.
TONGUES = _set("""
    alemán alemão allemand almancaya angielski anglais arabic bengali catalan chinese czech
    danish deutsch deutsche duits dutch engels englisch englische english espagnol finnish
    francese francés francês frans französisch french german germans greek hebrew hindi
    hungarian indonesian ingilizce ingilizceye inglese inglés inglês irish italian italians
    italien japanese korean latin mandarin niemiecki norwegian persian polish portuguese
    romanian russian spaniard spaniards spanisch spanische spanish swahili swedish tedesco thai
    turkish ukrainian urdu vietnamese английский испанский немецкий французский الإنجليزية
    الفرنسية अंग्रेज़ी
""")
#: Programming languages and frameworks, and the words that lead up to them.
CODE_TONGUES = _set("""
    python go rust java javascript typescript kotlin ruby php swift scala perl bash sql react django
    flask node pandas haskell elixir matlab c++ c# c r lua julia dart vue angular numpy powershell
""")
CODE_LINKS = _set("in with using en mit на em avec")
#: Words of politeness before the instruction proper.
POLITE = _set("""
    please can could would will you i want need to the me my now also kindly hi hello hey ok so just
    help bitte kannst du ich puedes por favor peux tu s'il te plaît pode potresti пожалуйста lütfen
    critically carefully briefly from quickly your task is , . : -
""")
#: Number words of word problems; "0" stands for any figures.
AMOUNTS = _set("""
    two three four five six seven eight nine ten eleven twelve twenty hundred dozen half third
    quarter twice double triple each apiece per times 0
""")
#: Words of feeling.
HEART = _set("""
    feel feeling feels felt sad lonely cry cried crying anxious useless hurt miss love heart tired
    afraid ashamed nervous depressed overwhelmed broke scared
""")
#: Parts of programs and of what runs them.
MACHINE = _set("""
    function functions array list module class import timer index loop variable button page server
    query app script code test tests build deploy api database browser cache string file log logs
    container pod request requests array sort search parser macro setinterval
""")
HOW_TO_SAY = (
    "how do you say", "how would a", "how do i say", "how does one say", "what do", "called in",
    " word for ", "wie sagt man", "comment dit-on", "cómo se dice", "como se diz", "come si dice",
    "hoe zeg je", "как будет", "как сказать", "怎么说", "put this into", "put it into",
    "the french for",
)  # fmt: skip
PROOF = (
    "prove", "proof", "show that", "watertight", "airtight", "convince me", "no doubt", "must be",
    "cannot be", "why must", "why can no", "why can every", "why must any", "no gap", "derive",
    "induction", "argue", "complete argument", "always", "add up",
)  # fmt: skip
LOGIC = (
    "what follows", "do we know", "you conclude", "can be concluded", "does it follow", "is lying",
    "always lie", "exactly one", "both true", "which door", "who is who", "step by step", "riddle",
    "reason it", "reasoning", "what happens if", "the chain of", "logically", "deduce",
)  # fmt: skip
SYMPTOM = (
    "why is my", "why does my", "why is this", "why does this", "why doesn't", "why isn't",
    "why am i", "overlook", "wrong", "works once", "worked until", "worked before", "no longer",
    "still", "instead of", "twice", "not working", "doesn't work", "fail", "crash", "broke",
    "stuck", "stops", "freez",
)  # fmt: skip
AUTOMATE = (
    "i want a little", "i want something", "i'd like something", "i need a small",
    "i need something", "paste into a terminal", "for the terminal", "formula", "on windows",
    "on linux", "on a mac", "my computer to",
)  # fmt: skip
ASK_AMOUNT = (
    "how many", "how much", "how long", "how far", "how old", "how fast", "what is the",
    "what was the", "what are the", "when is", "when does", "when will", "find the", "what is his",
    "what is her",
)  # fmt: skip
