"""Words and unusual texts from which bpe.py and tokenizer.py make their texts."""
WORDS = ("the of and to in that he shall unto for I his LORD they be is him not them it with all thou was thy God which my me said "
         "but ye their have will thee from as are when this out were by you up there Ärger größer naïve façade été señor ação "
         "жизнь слово было человек 世界 日本語 한국어 हिन्दी العربية שלום ไทย don't I'll WE'VE it's o'clock 2024 3.14159 12,345 "
         "for(i=0;i<n;i++) {return x->y;} printf(\"%d\\n\") #include <stdio.h> http://example.org/a?b=c&d=e").split(" ")
SPACES = [" ", " ", " ", " ", " ", "\n", "\n\n", "  ", "\t", " \n", "\r\n", "    ", "\u00a0", "\u3000", "\u2028", "\u0085", "\u180e", "\u200b"]
ODD = ["😀👩‍👩‍👧‍👦", "e\u0301", "ﬁ", "Ⅷ", "½", "²³", "١٢٣٤", "ſ", "K's", "'ſ", "'S 'T 'RE 'll", "\x00\x01", "\x7f", "ǅ", "<|end_of_text|>", "<|begin|>x",
       "a" * 300, " " * 200, "\n" * 70, "1" * 50, "!" * 90, "\U0010ffff", "\ue000", "ß", "İ", "ı", "…", "—", "''''", "_snake_case_", "camelCase"]
