"""Words by which people name a job, in some eighteen languages: intent -> what betrays it.

Own work. An entry ending in ``*`` is a stem (matched on a word's beginning, four letters at
least); entries in scripts without spaces between words are searched for as they stand.
"""

from functools import cache
from pathlib import Path

#: Intents are finer than task types: what a word asks for, not what the whole prompt is.
INTENTS: dict[str, str] = {
    "translate": """
        translate translation translating translated translates übersetze übersetzen übersetzung
        übersetz traduire traduis traduisez traduction traduce traducir traduzca traducción
        traduzir traduz traduza tradução traduci tradurre traduzione vertaal vertaling
        przetłumacz tłumaczenie переведи переведите перевод перевести çevir çevirin çeviri
        tercüme ترجم ترجمة अनुवाद dịch přelož översätt 翻译 翻譯 译成 翻訳 訳して 번역""",
    "summarize": """
        summarize summarise summary summaries summarizing tldr tl;dr recap condense gist
        synopsis abridge digest takeaways zusammenfass* fasse kurzfassung résume résumer résumez
        résumé resume resumir resumen resúmeme resuma resumo riassumi riassumere riassunto
        sintetizza samenvatting samenvatten streszcz* podsumuj* резюмируй* кратк* обобщи
        суммируй* özetle* özet لخص لخّص ملخص تلخيص सारांश संक्षेप shrň sammanfatta* 总结 總結
        概括 概述 摘要 归纳 要約 まとめて 요약 정리해""",
    "extract": """
        extract extracting extraction pull parse identify find classify categorize categorise
        label tag tags keywords entities entity fields csv sentiment extrahier* klassifizier*
        extrais extraire extrayez classe classez extrae extraer extraiga clasifica* extraia
        extrair classifique estrai estrarre classifica extraheer wyodrębnij wypisz sklasyfikuj
        извлеки* классифициру* выпиши çıkar ayıkla sınıflandır استخرج صنف صنّف निकालें निकालिए
        वर्गीकृत trích extrahuj extrahera 提取 抽取 分类 识别 找出 列出所有 抽出 分類 取り出し
        추출 분류 뽑아""",
    "write": """
        write draft compose craft rewrite rephrase reword paraphrase proofread polish poem story
        essay email letter blog article speech lyrics song haiku sonnet screenplay tagline
        slogan caption tweet toast biography novel chapter headline copywriting schreib*
        verfass* entwirf gedicht geschichte aufsatz umformulier* écris écrire rédige rédigez
        rédiger poème reformule* escribe escribir redacta* poema cuento ensayo reescrib* escreva
        escrever redija reescreva conto scrivi scrivere poesia racconto riscrivi schrijf gedicht
        verhaal napisz wiersz opowiadanie przepisz напиши* сочини* стих* рассказ* перепиши* yaz
        yazın şiir öykü اكتب قصيدة قصة रचना लिखें लिखिए लिखो कविता कहानी viết thơ napiš básnič*
        skriv dikt 写一 撰写 起草 改写 润色 作文 诗 文案 書いて 執筆 詩を 書き直 써줘 써 작성
        시를""",
    "maybe code": """
        function code script program class method python java rust swift ruby flask query unit
        tests library framework""",
    "code": """
        implement refactor compile api endpoint regex sql javascript typescript golang kotlin
        c++ c# php bash html css react django docker kubernetes algorithm programm* funktion
        implementier* quellcode skript code fonction programme
        implémente* algorithme función código programa implementa* função código implemente
        funzione codice functie funkcj* kod zaimplementuj функци* код реализуй* программ* скрипт
        алгоритм* fonksiyon betik دالة كود برنامج خوارزمية फ़ंक्शन कोड प्रोग्राम hàm mã funkci*
        funktion 函数 代码 代碼 实现 編程 编写 脚本 接口 算法 関数 コード 実装 スクリプト
        プログラム 함수 코드 구현 스크립트""",
    "debug": """
        debug debugging fix bug bugs error errors exception traceback stacktrace crash crashes
        crashing segfault failing fails failed broken throws undefined nullpointerexception
        typeerror keyerror valueerror hangs deadlock leak regression fehler behebe funktioniert
        absturz erreur corrige bogue plante error corrige arregla falla erro corrija conserta
        errore correggi fout werkt błąd napraw ошибк* исправь* почини* падает hata düzelt خطأ
        أصلح त्रुटि ठीक lỗi sửa chyba oprav 报错 错误 修复 调试 崩溃 为什么不 エラー バグ 修正
        動かない 오류 에러 고쳐 버그""",
    "math": """
        calculate compute solve equation equations integral integrate derivative differentiate
        theorem prove proof lemma corollary polynomial triangle probability modulo divisible
        factorial matrix eigenvalue determinant prime integer integers sum remainder percent
        percentage fraction perimeter area volume radius angle arithmetic geometric algebra
        berechne* löse gleichung beweis* integral ableitung wahrscheinlichkeit calcule* résous
        équation prouve* démontre* dérivée probabilité calcula* resuelve ecuación demuestra*
        derivada probabilidad resolva equação prove demonstre calcola* risolvi equazione
        dimostra* bereken bewijs oblicz rozwiąż równanie udowodnij вычисли* реши* уравнени*
        докажи* интеграл* вероятност* hesapla çöz denklem kanıtla* ispatla احسب حل معادلة أثبت
        برهن गणना समीकरण सिद्ध tính giải chứng vypočítej dokaž beräkna bevisa 计算 求解 方程
        证明 求证 试证 积分 概率 导数 計算 方程式 証明 確率 微分 계산 방정식 증명 적분 확률""",
    "reason": """
        logic logical puzzle riddle deduce deduction infer inference premise premises conclude
        conclusion syllogism paradox fallacy knights knaves houses clues constraints equilibrium
        game-theory dilemma logisch* rätsel schlussfolger* logique énigme déduis lógica acertijo
        deduce lógico enigma dedurre logica indovinello logiczn* zagadk* логич* загадк* выведи
        mantık bulmaca منطق لغز तर्क पहेली logický hádank* 推理 逻辑 谜题 博弈 均衡 推論 論理
        パズル 추론 논리 퍼즐 균형""",
    "analyse": """
        analyze analyse analysis analyzing evaluate evaluation assess assessment critique
        compare comparison contrast tradeoffs trade-offs swot implications interpret trends
        insights strengths weaknesses recommend recommendation analysier* bewert* vergleich*
        beurteil* analyse* évalue* compare* analiza* evalúa* compara* avalie analise analizza*
        valuta* confronta* analyseer vergelijk przeanalizuj oceń porównaj анализ* проанализ*
        оцени* сравни* analiz değerlendir karşılaştır حلل قارن قيّم विश्लेषण तुलना मूल्यांकन
        phân tích analyzuj porovnej analysera jämför 分析 评估 比较 对比 評価 比較 분석 평가
        비교""",
    "research": """
        research literature sources citations cite survey studies study papers evidence
        investigate report state-of-the-art meta-analysis findings peer-reviewed scholarly
        recherchier* literatur* quellen studien recherche études sources littérature investiga*
        fuentes estudios pesquise fontes estudos pesquisa ricerca fonti studi onderzoek bronnen
        badani* źródł* исследова* источник* литератур* araştır* kaynak ابحث مصادر دراسات शोध
        अध्ययन स्रोत nghiên výzkum zdroj* forskning 研究 文献 调研 资料 来源 調査 論文 出典 연구
        조사 문헌 논문""",
    "image": """
        image picture photo photograph drawing draw paint painting illustration illustrate logo
        icon render watercolor watercolour sketch poster wallpaper portrait screenshot
        photorealistic cinematic 4k 8k anime pixel collage selfie background bild foto zeichne*
        male illustration image photo dessine* peins illustration imagen foto dibuja*
        ilustración imagem desenh* ilustração immagine disegna* illustrazione afbeelding teken
        plaatje obraz zdjęcie narysuj картин* изображени* нарису* фото resim fotoğraf çiz görsel
        صورة ارسم رسم चित्र तस्वीर बनाओ vẽ ảnh obrázek nakresli bild rita 图片 图像 照片 画一
        绘制 插画 海报 画像 写真 描いて イラスト 그림 사진 그려 이미지""",
    "agent": """
        tool tools tool_call tool_calls function_call thought action observation arguments
        invoke step deploy restart commit push branch pull merge ticket calendar schedule
        booking book reminder browser click navigate terminal shell""",
    "explain": """
        what who when where why how which explain define meaning difference is are does was
        erkläre erklär was wer wann wo warum wie welche bedeutet unterschied qu'est-ce quel
        quelle quand où pourquoi comment explique différence qué quién cuándo dónde cómo cuál
        explica diferencia porque quem quando onde como qual explique diferença cosa chi perché
        spiega differenza wat wie waarom hoe leg uit co kto kiedy gdzie dlaczego jak wyjaśnij
        różnica что кто когда где почему как объясни* разниц* nedir kim nasıl neden açıkla fark
        ما من متى أين لماذا كيف اشرح الفرق क्या कौन कब कहाँ क्यों कैसे समझाएं अंतर là gì tại sao
        giải thích co proč vysvětli vad varför förklara 什么 谁 哪里 为什么 怎么 如何 解释 区别
        何 誰 なぜ とは 違い 説明 무엇 누가 왜 어떻게 설명 차이 뭐""",
    "converse": """
        hi hello hey thanks thank please feel feeling feelings sad happy lonely advice recommend
        suggest suggestions ideas tips should help you your roleplay joke favorite hallo danke
        bonjour merci salut conseil hola gracias consejo olá obrigado conselho ciao grazie
        consiglio hoi bedankt cześć dzięki привет спасибо посоветуй* merhaba teşekkür مرحبا شكرا
        नमस्ते धन्यवाद chào cảm ahoj hej tack 你好 谢谢 建议 推荐 こんにちは ありがとう おすすめ
        안녕 감사 추천 조언""",
}


DATA = Path(__file__).resolve().parents[1] / "data"


@cache
def _variants() -> dict[int, int]:
    """Traditional and Japanese forms of Chinese characters -> the simplified one.

    1,634 common ones, as OpenCC's tables (Apache-2.0) pair them.
    """
    forms, plain = (DATA / "han_variants.txt").read_text(encoding="utf-8").split()
    found = str.maketrans(forms, plain)
    # Fullwidth letters and digits; their punctuation is that of Chinese and Japanese texts.
    wide = (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))
    return found | {code: code - 0xFEE0 for code in wide}


def simplified(text: str) -> str:
    """A word counts once, however its characters are written."""
    return text if text.isascii() else text.translate(_variants())


def _has_no_spaces(word: str) -> bool:
    # Most words: a look at each character takes longer than the import.
    if word.isascii() or max(word) < "\u3040":
        return False
    return any("\u3040" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" for c in word) or any(
        "\uac00" <= c <= "\ud7a3" for c in word
    )


def _build() -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    whole: dict[str, tuple[str, ...]] = {}
    stems: dict[str, tuple[str, ...]] = {}
    for intent, words in INTENTS.items():
        for word in dict.fromkeys(words.split()):
            if _has_no_spaces(word):
                continue
            if word.endswith("*"):
                stems[word[:4]] = (*stems.get(word[:4], ()), word[:-1] + "\0" + intent)
            else:
                whole[word] = (*whole.get(word, ()), intent)
    return whole, stems


@cache
def inside() -> tuple[tuple[str, str], ...]:
    """What is searched for as it stands, in texts that are not ASCII, and its intent."""
    found = (
        (simplified(word), intent)
        for intent, words in INTENTS.items()
        for word in dict.fromkeys(words.split())
        if _has_no_spaces(word)
    )
    return tuple(dict.fromkeys(found))


WHOLE, STEMS = _build()


def intents_of(word: str) -> tuple[str, ...]:
    """The intents that one lower-case word betrays; () for most words."""
    found = WHOLE.get(word, ())
    for entry in STEMS.get(word[:4], ()):
        stem, _, intent = entry.partition("\0")
        if word.startswith(stem) and intent not in found:
            found = (*found, intent)
    return found


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


@cache
def pieces(words: str) -> tuple[str, ...]:
    """Of such words, the longest first."""
    return tuple(sorted(simplified(words).split(), key=len, reverse=True))


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

#: Words by which a turn lets the work go on: alone they say nothing of what that work is.
GO_ON = _set("""
    yes y yep yeah yup ya sure going carry works ok okay k okey alright fine perfect good
    great agreed absolutely definitely certainly exactly correct right indeed go proceed continue
    resume do start begin
    approved approve accepted accept confirm confirmed lgtm ship finish
    ja jawohl jo klar gerne genau weiter mach mache machen los einverstanden passt gut richtig
    oui ouais d'accord vas-y allez-y fais-le faites-le continue continuez poursuis parfait
    sûr volontiers fais faites
    sí si claro vale adelante sigue continúa continua hazlo dale perfecto acuerdo procede
    sim certo beleza continue prossiga siga faça ótimo pode
    sì va certo procedi prosegui avanti fallo perfetto fai d'accordo
    prima goed akkoord door doorgaan doe tak dalej kontynuuj zrób dobrze jasne śmiało
    да давай давайте хорошо ладно продолжай продолжайте конечно согласен согласна делай делайте
    вперёд вперед поехали дальше так evet tamam devam olur yap başla
    نعم أجل تابع استمر حسنا حسناً تفضل أكمل موافق
    vâng có được đồng tiếp tục làm ano jo dobře pokračuj jasně okej japp fortsätt kör gör
""")
#: Words that pick one of the ways that were offered.
PICKS = _set(
    "0 first second third option one step part a b c erste zweite premier deuxième primera"
)
#: What may stand around them.
AROUND_GO_ON = _set("""
    please now then just all of it that this the them both everything whole thing as is so and with
    for me by let's let us ahead on up next to first second third one option step part plan rest
    a an i we you can could should would like want looks sounds seems makes sense keep going
    more way above make proposed suggested planned full complete it's that's my your
    bitte jetzt dann alles es das so damit an fang s'il te vous plaît tout le la ça maintenant
    bien por favor todo lo ahora con eso de hazlo tudo isso agora em frente tutto lo ora pure per
    bene maar alstublieft alles het het dan to wszystko proszę teraz это всё все пожалуйста теперь
    et et lütfen hepsini şimdi من فضلك ذلك الآن đi ý làm ơn tất cả
    prosím vše to tack allt det nu 0
""")
#: The same in scripts whose words are not set apart, or not found by their letters; the longest
#: first, so that none is cut.
GO_ON_INSIDE = """
    好的 好吧 好 是的 是 行 可以 对 嗯 没问题 同意 继续 开始 做吧 干吧 就这样 照办 没错 当然
    はい うん ええ お願いします お願い 続けて 続き 進めて 始めて やって そうして 了解 いいよ
    いいです オーケー
    네 예 응 좋아요 좋아 그래 계속 진행 시작 부탁 알겠 확인
    हाँ हां जी ठीक जारी करो कीजिए बढ़ो बढ़ें बढ़िए ใช่ ตกลง ได้เลย ทำต่อ ดำเนินการต่อ
"""
AROUND_INSIDE = """
    吧 请 了 啊 呀 哦 这 那 个 全部 都 就 去 来 你 我 它 做 写 下去
    ください 下さい です ます その まま で それ と て よ ね も 全部
    그렇게 주세요 해 요 합니다 주 그 다 전부
    है आगे रखें रखो सब कृपया ครับ ค่ะ เลย
"""
#: A turn of these closes the matter.
CLOSING = _set("""
    thanks thank thx bye goodbye nevermind stop cancel no nope danke tschüss nein merci non
    gracias adiós no obrigado obrigada não grazie dank nee dzięki dziękuję nie спасибо нет пока
    teşekkürler teşekkür hayır شكرا لا धन्यवाद नहीं cảm không díky děkuji ne tack nej
    haha lol wow nice cool interesting
""")
CLOSING_INSIDE = """
    你好 您好 早上好 晚上好 不 别 谢 再见 ありがとう こんにちは いいえ やめ 違
    아니 감사 안녕 धन्यवाद नहीं नमस्ते ไม่ ขอบคุณ สวัสดี
"""
