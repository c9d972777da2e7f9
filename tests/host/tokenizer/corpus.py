"""Texts on which tokenizers differ, and a strategy for more of them."""

from __future__ import annotations

import random
import unicodedata

from hypothesis import strategies as st

SPECIAL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "<unk>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|begin_of_text|>",
    "<|eot_id|>",
    "<0x0A>",
    "<0x41>",
    "[INST]",
    "<unused5>",
    "<|end|>",
    "<file_sep>",
]

TEXTS = [
    "",
    "a",
    " ",
    "  ",
    "   ",
    " " * 17,
    " " * 40 + "x",
    "\n",
    "\n\n",
    "\n" * 33,
    "\t",
    "\t\t\tx\t",
    " \n ",
    "foo  \n  bar",
    "\r\n\r\n a\rb\r",
    "Hello",
    " Hello",
    "Hello World  ",
    "  Hello\n\n  World \t x",
    "What is the capital of France?",
    "I'm you're WE'LL 'S 'tis don't o'clock 'ſ 'K ''",
    "1 22 333 4444 55555 1,234.56 0x1F -7e10 ⅷ ² ½ ٣ 𝟛 １２",
    "Größe ÉCOLE Été naïve e\u0301 \u0301 ﬁ ß İı",
    "東京 日本語のテスト 한국어 カタカナ　全角。中文，标点！",
    "مرحبا بالعالم שלום हिन्दी ไทย ქართული Ελληνικά Кириллица",
    "😀 👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 é ☃️",
    "\x00\x01\x1f\x7f\x85\xa0\u1680\u2007\u2028\u2029\u202f\u3000\ufeff",
    "\u200b\u200d\u2060\ufe0f\ufffd\ufffe\U0010ffff",
    "a\u0300\u0301\u0302bc z̸̧͓a̷͉l̴g̶o̵",
    'def f(x):\n        return x ** 2  # no\n\n\n    y\t\tz\nfor(int i=0;i<n;++i){a[i]+="b\\n";}',
    "https://example.com/a/b?c=d&e=%20#frag mailto:a.b@c.de C:\\x\\y",
    "!!!???...,,,;;; --- === ~~~ ``` '''' \"\"\"\" ((())) [[]] {{}} <<>> $+^|`",
    "▁▁ ▁x▁ >▁</ ▁",
    "Hello.\n\n\n\n\n\nx  .  y",
    "IMGIMGABIZ <sentinel:7>",
    "the the the " * 300,
    "a" * 10_000,
    "é" * 2_000,
    "東" * 3_000,
    "1" * 1_000,
    "ab " * 2_000,
    "x\n" * 1_000,
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]",
    "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n",
    "<<|im_start|>> <|im_start |> <|IM_START|> <|im_end|><|im_end|>  <|im_end|> x",
    "  <|im_end|>  \n <|im_start|>  ",
    "<0x0A><0x41> <unused5> <unk>",
    *SPECIAL,
    "".join(SPECIAL),
    " ".join(SPECIAL),
]


def scrambled(num: int, seed: int) -> list[str]:
    """`num` short texts of what matters, in random order."""
    rng = random.Random(seed)
    atoms = [
        " ",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "a",
        "B",
        "1",
        "23",
        "é",
        "É",
        "東",
        "。",
        "\u3000",
        "\xa0",
        "😀",
        "\u0301",
        "'",
        "s",
    ]
    atoms += ["ll", "!", "_", "-", "/", "<", "|", ">", "▁", "the", "ing", "\u200d", "\x00", *SPECIAL]
    return ["".join(rng.choice(atoms) for _ in range(rng.randint(1, 30))) for _ in range(num)]


def _is_old(character: str) -> bool:
    """Known to every Unicode table around; newer characters are cut as each table's version says."""
    return unicodedata.ucd_3_2_0.category(character) not in ("Cn", "Cs")


any_text = st.text(
    st.one_of(
        st.sampled_from(list(" \n\r\t'aAsS1.!<|>_é東▁\u3000\xa0\u0301")),
        st.characters(exclude_categories=["Cs", "Cn"]).filter(_is_old),
    ),
    max_size=60,
)
