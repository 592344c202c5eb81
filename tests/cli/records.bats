load helper

# Tests files, records, conversations and requests in the forms in which users have them.
setup() {
    cd "$BATS_TEST_TMPDIR"
    make_tokenizer
    tok=$made/tok
    echo '{"system_turn":"<{}>","turn":"{system}[{}]"}' > own.json
}

chat() { tokenize -m "$tok" --format chat --template own.json "$@"; }

# seen OPTIONS...: prints the conversations of standard input as the model will see them, one on
# each line. Trained parts begin with ">".
seen() {
    chat --quiet --show 1000 "$@" | \
        perl -00 -ne \
        'next if $. == 1; my @l = split /\n/; shift @l; s/^  //, s/^> />/ for @l; print join("|", @l), "\n"'
}

# sees RECORD SEEN [OPTIONS...]: fails unless `seen` prints SEEN for the record
sees() {
    local got
    got=$(seen "${@:3}" <<< "$1")
    [ "$got" = "$2" ] || { printf '%s\nseen: %s\nnot:  %s\n' "$1" "$got" "$2" >&2; return 1; }
}

# refuses RECORD MESSAGE [OPTIONS...]: fails unless the record is refused with this message, which
# is given without its place
refuses() {
    run --separate-stderr -3 chat -o none "${@:3}" <<< "$1"
    [ "$stderr" = "tokenize: standard input:1: $2" ] || { echo "$stderr" >&2; return 1; }
}

# Prints the tokens of the documents, without the documents' ids.
tokens() { tokenize --quiet -m "$tok" --source s --to jsonl "$@" | grep -o '"tokens":[^]]*'; }

# ---- files ----

@test "records: zstd, gzip and xz files, of one part or several, are read as their content" {
    make_documents
    tokens docs.jsonl > want
    [ "$(wc -l < want)" -eq 10 ]
    head -n 4 docs.jsonl > first
    tail -n +5 docs.jsonl > second
    for pack in gzip xz "zstd -q"; do
        $pack -c docs.jsonl > whole.packed
        { $pack -c < first; $pack -c < second; } > two.packed
        for file in whole two; do
            tokens $file.packed | cmp - want
            cat $file.packed | tokens | cmp - want
        done
        # The file comes byte by byte from a pipe.
        head -n 1 docs.jsonl | $pack -c | \
            perl -e 'while (read STDIN, my $b, 1) { syswrite STDOUT, $b }' | tokens | \
            cmp - <(head -n 1 want)
    done
    # First a zstd frame that must be skipped. Then gzip followed by zeros, as on tapes.
    { printf '\x50\x2a\x4d\x18\x03\0\0\0abc'; zstd -qc docs.jsonl; } | tokens | cmp - want
    { gzip -c docs.jsonl; head -c 100 /dev/zero; } | tokens | cmp - want
}

@test "records: a compressed file that is cut, damaged or followed by other bytes is refused" {
    make_documents
    gzip -c docs.jsonl > gz
    xz -c docs.jsonl > xz
    zstd -qc docs.jsonl > zst
    for cut in gz:'gzip member is truncated' xz:'xz stream is truncated' \
        zst:'zstd frame is truncated'; do
        for bytes in 20 100 $(($(stat -c %s "${cut%%:*}") - 1)); do
            head -c $bytes "${cut%%:*}" > cut
            run --separate-stderr -3 tokenize -m "$tok" cut -o none
            [ "$stderr" = "tokenize: cut: ${cut#*:}" ]
        done
    done
    { cat gz; head -c 100 gz; } > cut
    run --separate-stderr -3 tokenize -m "$tok" cut -o none
    [ "$stderr" = "tokenize: cut: gzip member is truncated" ]
    perl -e 'local $/; my $s = <STDIN>; substr($s, length($s) / 2, 4) = "abcd"; print $s' < gz > bad
    run --separate-stderr -3 tokenize -m "$tok" bad -o none
    [[ "$stderr" == "tokenize: bad: gzip: "* ]]
    perl -e 'local $/; my $s = <STDIN>; substr($s, length($s) / 2, 4) = "abcd"; print $s' < xz > bad
    run --separate-stderr -3 tokenize -m "$tok" bad -o none
    [ "$stderr" = "tokenize: bad: xz: damaged" ]
    for kind in gz:gzip xz:xz; do
        for bytes in '{' '{"text":"a"}' "$(head -c 40 docs.jsonl)"; do
            { cat ${kind%:*}; echo "$bytes"; } > after
            run --separate-stderr -3 tokenize -m "$tok" after -o none
            [ "$stderr" = "tokenize: after: ${kind#*:}: other bytes follow its end: was the file damaged?" ]
        done
    done
    # An xz file may be padded with zeros, by multiples of 4 bytes.
    tokens docs.jsonl > want
    { cat xz; head -c 8 /dev/zero; cat xz; head -c 4 /dev/zero; } | tokens | cmp - <(cat want want)
    for zeros in 3 9; do
        { cat xz; head -c $zeros /dev/zero; } > after
        run --separate-stderr -3 tokenize -m "$tok" after -o none
        [ "$stderr" = "tokenize: after: xz: the zeros after its end are cut: was the file damaged?" ]
        { cat xz; head -c $zeros /dev/zero; cat xz; } > after
        run --separate-stderr -3 tokenize -m "$tok" after -o none
        [ "$stderr" = "tokenize: after: xz: other bytes follow its end: was the file damaged?" ]
    done
    { cat xz; head -c 20 xz; } > after
    run --separate-stderr -3 tokenize -m "$tok" after -o none
    [ "$stderr" = "tokenize: after: xz stream is truncated" ]
    [ ! -e none ]
}

@test "records: a byte order mark, CR LF and blank lines are accepted; a JSON array is read like lines" {
    printf '%s\n' '{"text":"a b"}' '{"text":"c ],\"{"}' '{"text":"d"}' > lines
    tokens lines > want
    printf '\xef\xbb\xbf{"text":"a b"}\r\n\r\n \t\r\n{"text":"c ],\\"{"}\r\n{"text":"d"}' | \
        tokens | cmp - want
    printf '\xef\xbb\xbf\n [\n {"text":\r\n"a b"},{"text":"c ],\\"{"}  ,\n\n{"text":"d"}\n]\n\n' > \
        array
    tokens array | cmp - want
    xz -c array | tokens | cmp - want
    tokenize --quiet -m "$tok" --to jsonl array | grep -q '"id":"array:3"'
    # An array may be longer than the piece that is read at once.
    perl -e 'print "[", join(",\n", map { "{\"text\":\"" . "ab " x 2000 . "$_\"}" } 1..300), "]"' \
        > large
    tokenize --quiet -m "$tok" large -o large.tok
    [ \
        "$(tokenize --quiet -m "$tok" --decode large.tok | grep -o '[0-9]*","source"' | tr -cd '0-9\n' | uniq | paste -sd' ')" \
        = "$(seq 300 | paste -sd' ')" ]
    says() { printf '%s' "$1" > x; run --separate-stderr -3 tokenize -m "$tok" x -o none; \
        [ "$stderr" = "tokenize: x: element $2" ]; }
    says '[{"text":"a"}, {"text":"b"' '2: the array is cut: its bracket does not close'
    says '[{"text":"a"},' '2: the array is cut: its bracket does not close'
    says '[{"text":"a"},]' '2: a value is missing'
    says '[,{"text":"a"}]' '1: a value is missing'
    says '[{"text":"a"}] {' '2: something follows the array, which must be alone in its file'
    says '[{"text":"a"}, 3]' '2: byte 1: not a JSON object'
    says '[{"text":"a"} {"text":"b"}]' \
        '1: byte 14: something follows the object, which must be alone on its line (a comma missing between elements?)'
    run --separate-stderr -0 tokenize -m "$tok" -o none.tok <<< ' [ ] '
    [[ "$stderr" == *"the stream has no document"* ]]
}

@test "records: a file of another kind is named, with what to do" {
    make_documents
    names() { # BYTES MESSAGE
        printf "$1" > x
        run --separate-stderr -3 tokenize -m "$tok" x -o none
        [[ "$stderr" == "tokenize: x: $2"* ]] || { echo "$stderr" >&2; return 1; }
    }
    names 'PAR1\x15\x04\x15\x00' \
        'a parquet file: JSON lines are needed: in Python pandas.read_parquet(FILE)'
    names '\xff\xfe{\0"\0' 'text in UTF-16: iconv -f UTF-16 -t UTF-8 makes UTF-8 of it'
    names '{\0"\0t\0e\0x\0t\0' 'text in UTF-16: '
    names '\0\0\0{\0\0\0"\0\0\0t\0\0\0e' 'text in UTF-32: '
    names 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n' \
        'a pointer of Git LFS in place of the file: run git lfs pull'
    names '<!DOCTYPE html>\n<html>\n' \
        'a web page (HTML), where JSON is needed: a download that failed may have left it'
    names '<?xml version="1.0"?><Error>' 'XML, where JSON is needed: '
    names 'GGUF\x03\0\0\0\0\0\0\0' 'a GGUF file: '
    names '%%PDF-1.7\n' 'a PDF document: pdftotext makes text of it'
    names 'PK\x03\x04' 'a zip: '
    names \
        'PK\x03\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x18\0\0\0consolidated.00/data.pkl' \
        'a checkpoint of PyTorch: '
    names 'BZh91AY&SY' 'bzip2: bzip2 -dc gives its content'
    names '\x48\0\0\0\0\0\0\0{"__metadata__"' 'weights in safetensors: '
    cp "$tok/tokenizer.model" x
    run --separate-stderr -3 tokenize -m "$tok" x -o none
    [[ "$stderr" == "tokenize: x: a SentencePiece model: "* ]]
    tar -cf docs.tar docs.jsonl
    run --separate-stderr -3 tokenize -m "$tok" docs.tar -o none
    [[ "$stderr" == "tokenize: docs.tar: a tar archive: "* ]]
    tar -czf docs.tgz docs.jsonl
    run --separate-stderr -3 tokenize -m "$tok" --format text docs.tgz -o none
    [[ "$stderr" == "tokenize: docs.tgz: a tar archive in gzip: "* ]]
    # A file that may be meant as text is read as text, and a message says so.
    printf '<html>a</html>' > page
    run --separate-stderr -0 tokenize -m "$tok" --format text page -o page.tok
    [[ "$stderr" == *"page: a web page (HTML): it is read as plain text, with all its markup"* ]]
    # In the place of a stream, files of other kinds are named too.
    printf 'PAR1\x15\x04\x15\x00aaaaaaaaaaaaaaaaaaaa' > x
    run --separate-stderr -3 pack --context 16 x -o none
    [ "$stderr" = "pack: x: byte 0: a parquet file: not a stream of tokens, which tokenize makes" ]
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n' > x
    run --separate-stderr -3 pack --context 16 x -o none
    [ "$stderr" = \
        "pack: x: byte 0: a pointer of Git LFS in place of the file: run git lfs pull: not a stream of tokens, which tokenize makes" ]
    # Letters that only begin so are text.
    for text in 'PAR1 is how it begins' 'GGUF is a format' '<htmlx' 'BZh9'; do
        printf '%s' "$text" > x
        run --separate-stderr -0 tokenize -m "$tok" --format text x -o x.tok
        [[ "$stderr" != *"with all its markup"* ]]
    done
}

# hints TEXT HINT: fails unless the messages about TEXT, which is not JSON, end with HINT. Tested
# are tokenize for text and for conversations, and generate.
hints() {
    local way
    printf -- "$1" > x
    for way in "tokenize -m $tok x -o none" "chat x -o none" \
        "generate --quiet -m base --format jsonl -f x"; do
        run --separate-stderr -3 $way
        [[ "$stderr" == *": x:"*" ($2)" ]] || { echo "$way: $stderr" >&2; return 1; }
        [ "${#stderr_lines[@]}" -eq 1 ]
    done
    [ ! -e none ]
}

@test "records: for a line that is not JSON, the message says what it may be and what to do" {
    make_base
    many='an object over many lines? one a line is needed: jq -c .'
    hints '{\n  "text": "a"\n}\n' "$many"
    hints '{"text": "a",\n "n": 1}\n' "$many"
    hints '{"prompt":"a","messages": [\n  {"role": "user"' "$many"
    hints '}\n' "$many"
    hints '"text": "a",\n' "$many"
    hints '{"text":"a"}{"text":"b"}\n' 'many objects on a line? one a line is needed: jq -c .'
    hints '{"text":"a"} {"text":"b"}\n' 'many objects on a line? one a line is needed: jq -c .'
    hints '{"text":"a"}\r{"text":"b"}\r' "lines that end in CR alone? tr '\\r' '\\n' mends them"
    hints '{"text":"a","n":NaN}\n' 'NaN and Infinity are not JSON: write null'
    hints '{"text":"a","n":-Infinity}\n' 'NaN and Infinity are not JSON: write null'
    hints "{'text': 'a'}\\n" \
        'a record as Python prints it? in Python json.dumps(record) writes JSON'
    hints "[{'text': 'a'}]\\n" \
        'a record as Python prints it? in Python json.dumps(record) writes JSON'
    hints '{"text":"a","n":None}\n' \
        "None, True and False are Python's: in Python json.dumps(record) writes JSON"
    table="a table? in Python pandas.read_csv(FILE).to_json('FILE.jsonl', orient='records', lines=True) makes JSON lines of it"
    hints 'instruction,output\na,b\n' "$table"
    hints '"instruction","output"\n"a","b"\n' "$table"
    hints 'instruction;output\na;b\n' "${table/FILE)/FILE, sep=\';\')}"
    hints '"instruction";"output"\n"a";"b"\n' "${table/FILE)/FILE, sep=\';\')}"
    hints 'instruction\toutput\na\tb\n' "${table/FILE)/FILE, sep=\'\\t\')}"
    hints '"instruction"\t"output"\n"a"\t"b"\n' "${table/FILE)/FILE, sep=\'\\t\')}"
    yaml="YAML? yq -o json -I 0 '.[]' makes JSON lines of a list"
    hints '---\n- text: a\n' "$yaml"
    hints 'messages:\n  - role: user\n' "$yaml"
    hints '%%YAML 1.2\n' "$yaml"
    hints 'Note: this is prose, with a comma.\n' 'plain text? --format text'
    hints 'Once upon a time\n' 'plain text? --format text'
    hints '<div>a</div>\n' 'a web page? a download that failed may have left it'
    # In a later line, only mistakes within a line are considered, because the file has begun as
    # JSON lines.
    for way in "tokenize -m $tok" "chat"; do
        printf '{"text":"a","input":"u","output":"v"}\n%s\n' '{"text":"a","input":"b"' > x
        run --separate-stderr -3 $way x -o none
        [[ "$stderr" == "tokenize: x:2: "*" ($many)" ]]
        printf '{"text":"a","input":"u","output":"v"}\n%s\n' 'a,b,c' > x
        run --separate-stderr -3 $way x -o none
        [[ "$stderr" == "tokenize: x:2: "* && "$stderr" != *table* ]]
    done
    # The line has bytes in another encoding.
    printf '{"text":"caf\xe9","input":"u","output":"caf\xe9"}\n' > x
    run --separate-stderr -3 tokenize -m "$tok" x -o none
    [[ "$stderr" == \
        *"invalid UTF-8 (another encoding? iconv -f WINDOWS-1252 -t UTF-8; --on-error replace mends it)" ]]
    run --separate-stderr -3 chat x -o none
    [[ "$stderr" == *"(another encoding? iconv -f WINDOWS-1252 -t UTF-8)" ]]
}

@test "records: a directory is refused, and an empty file gives an empty stream and a message" {
    make_documents
    mkdir folder
    for way in "tokenize -m $tok folder -o none" "chat folder -o none" \
        "tokenize -m $tok --format text folder -o none"; do
        run --separate-stderr -1 $way
        [ "$stderr" = "tokenize: folder: a directory, where a file is needed: name what is in it" ]
    done
    : > empty
    for way in "tokenize -m $tok" "chat"; do
        run --separate-stderr -0 $way empty -o empty.tok
        [[ "$stderr" == *"the stream has no document" ]]
    done
    [ ! -e none ]
}

# ---- conversations ----

@test "chat: each accepted form of a record gives the conversation that it describes" {
    sees '{"instruction":"i","input":"n","output":"o"}' '[i⏎|n]|> o⟨</s>⟩'
    sees '{"instruction":"i","input":"","output":"o"}' '[i]|> o⟨</s>⟩'
    sees '{"instruction":"i","input":"[]","output":"o"}' '[i⏎|[]]|> o⟨</s>⟩'
    sees '{"instruction":"i","input":null,"output":"o","system":"","history":[]}' '[i]|> o⟨</s>⟩'
    sees '{"instruction":"","input":"n","output":"o"}' '[n]|> o⟨</s>⟩'
    sees '{"instruction":" i ","input":" n ","output":" o\n"}' '[i·⏎| n]|> o⟨</s>⟩'
    sees '{"instruction":"i","output":"o","system":"s","history":[["a","b"],["c","d"]]}' \
        '<s>[a]|> b⟨</s>⟩|[c]|> d⟨</s>⟩|[i]|> o⟨</s>⟩'
    sees '{"instruction":"i","context":"c","response":"r"}' '[i⏎|c]|> r⟨</s>⟩'
    sees '{"prompt":"p","input":"n","response":"r"}' '[p⏎|n]|> r⟨</s>⟩'
    sees '{"prompt":"p","completion":"c"}' '[p]|> c⟨</s>⟩'
    sees '{"question":"q","answer":"a"}' '[q]|> a⟨</s>⟩'
    sees '{"system_prompt":"s","question":"q","response":"r"}' '<s>[q]|> r⟨</s>⟩'
    sees '{"query":"q","response":"r"}' '[q]|> r⟨</s>⟩'
    sees '{"input":" u ","output":"a"}' '[u]|> a⟨</s>⟩'
    sees \
        '{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}' \
        '<s>[u]|> a⟨</s>⟩'
    sees \
        '{"messages":[{"role":"developer","content":"s"},{"role":"user","content":"u","name":"bob"},{"role":"assistant","content":"a"}]}' \
        '<s>[u]|> a⟨</s>⟩'
    sees \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}],"system":"s"}' \
        '<s>[u]|> a⟨</s>⟩'
    sees \
        '{"messages":[{"role":"user","content":[{"type":"text","text":"u"},{"type":"text","text":"v"}]},{"role":"assistant","content":[{"type":"text","text":"a"}]}]}' \
        '[u⏎|v]|> a⟨</s>⟩'
    sees \
        '{"messages":[{"role":"user","content":[{"type":"text","value":"u"}],"loss_weight":0.0},{"role":"assistant","content":[{"type":"text","value":"a"}],"loss_weight":1.0}]}' \
        '[u]|> a⟨</s>⟩'
    sees \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a","tool_calls":null,"refusal":null,"reasoning_content":""}],"tools":[],"images":[]}' \
        '[u]|> a⟨</s>⟩'
    sees \
        '{"conversations":[{"from":"system","value":"s"},{"from":"human","value":"u"},{"from":"gpt","value":"a"},{"from":"human","value":"v"},{"from":"gpt","value":"b"}],"tools":"[]"}' \
        '<s>[u]|> a⟨</s>⟩|[v]|> b⟨</s>⟩'
    sees '{"conversations":[{"role":"user","content":"u"},{"role":"model","content":"a"}]}' \
        '[u]|> a⟨</s>⟩'
    sees '{"conversation":[{"human":"u","assistant":"a"},{"human":"v","assistant":"b"}]}' \
        '[u]|> a⟨</s>⟩|[v]|> b⟨</s>⟩'
    # null means the same as no key, also under another spelling.
    sees \
        '{"messages":[{"role":null,"content":null,"from":"human","value":"u"},{"role":"assistant","content":"a","from":null,"value":null}]}' \
        '[u]|> a⟨</s>⟩'
    sees \
        '{"messages":[{"role":"user","content":null,"value":"u"},{"from":"gpt","value":null,"content":"a"}]}' \
        '[u]|> a⟨</s>⟩'
    sees \
        '{"messages":[{"role":"user","content":[{"type":"text","text":null,"value":"u"}]},{"role":"assistant","content":"a","output":null}]}' \
        '[u]|> a⟨</s>⟩'
    sees '[{"role":null,"from":"human","value":"u"},{"from":"gpt","value":"a"}]' '[u]|> a⟨</s>⟩'
    sees '{"messages":[{"role":"system","content":null},{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}' \
        '[u]|> a⟨</s>⟩'
    sees '{"conversation":[{"human":"u","assistant":"a","train":false},{"human":"v","assistant":"b"}]}' \
        '[u] a⟨</s>⟩[v]|> b⟨</s>⟩'
    sees '{"input":"u","output":"a","train":true,"weight":1,"loss_weight":1.0}' '[u]|> a⟨</s>⟩'
    sees '{"conversations":["u","a","v","b"]}' '[u]|> a⟨</s>⟩|[v]|> b⟨</s>⟩'
    sees '{"id":"0","data":["u","a"]}' '[u]|> a⟨</s>⟩'
    sees '[[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]]' '[u]|> a⟨</s>⟩'
    # Lists of messages may also be the lines of a file.
    list='[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]'
    sees "$list" '[u]|> a⟨</s>⟩'
    sees " $list"$'\n\n'"${list//\"u\"/\"v\"}" '[u]|> a⟨</s>⟩
[v]|> a⟨</s>⟩'
    sees "$list"$'\n{"input":"v","output":"b"}' '[u]|> a⟨</s>⟩
[v]|> b⟨</s>⟩'
    sees "[{\"input\":\"u\",\"output\":\"a\"},$list]" '[u]|> a⟨</s>⟩
[u]|> a⟨</s>⟩'
    run --separate-stderr -3 chat -o none <<< "${list/,/,$'\n'}"
    [[ "$stderr" == "tokenize: standard input:1: "*" (an object over many lines? one a line is needed: jq -c .)" ]]
    # A number that is not used may be too large for the machine.
    sees '{"n":1e99999,"m":[-1E400,"1e999\"1e999"],"input":"1e99999","output":"a"}' '[1e99999]|> a⟨</s>⟩'
    refuses '{"input":"u","output":1e99999}' "'output' is no text"
    sees '{"id":123456789012345678901234567890,"input":"u","output":"a"}' '[u]|> a⟨</s>⟩'
    # A list of messages has priority over other keys with the same content.
    sees \
        '{"prompt":"u","messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}' \
        '[u]|> a⟨</s>⟩'
    sees \
        '{"prompt":"u","messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}],"chosen":[1],"rejected":[2]}' \
        '[u]|> a⟨</s>⟩'
    # TRL's form, in which the completion is trained on, and Nemotron's.
    sees \
        '{"prompt":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"v"}],"completion":[{"role":"assistant","content":"b"}]}' \
        '[u] a⟨</s>⟩[v]|> b⟨</s>⟩'
    sees '{"input":[{"role":"user","content":"u"}],"output":"a"}' '[u]|> a⟨</s>⟩'
}

@test "chat: all answers are trained on, or the last one, or those that the messages select" {
    two='{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"v"},{"role":"assistant","content":"b"}]}'
    sees "$two" '[u]|> a⟨</s>⟩|[v]|> b⟨</s>⟩' --train-on all
    sees "$two" '[u] a⟨</s>⟩[v]|> b⟨</s>⟩' --train-on last
    for off in '"weight":0' '"weight":0.0' '"train":false' '"training":false' '"loss":false' \
        '"weight":0,"train":false'; do
        sees "${two/\"content\":\"a\"/\"content\":\"a\",$off}" '[u] a⟨</s>⟩[v]|> b⟨</s>⟩'
    done
    sees "${two/\"content\":\"a\"/\"content\":\"a\",\"weight\":1,\"train\":null}" \
        '[u]|> a⟨</s>⟩|[v]|> b⟨</s>⟩'
    sees "${two/\"content\":\"u\"/\"content\":\"u\",\"weight\":0}" '[u]|> a⟨</s>⟩|[v]|> b⟨</s>⟩'
    refuses "${two/\"content\":\"u\"/\"content\":\"u\",\"train\":true}" \
        "message 1: 'train' of 'user': only answers are trained on (--odd: what to do with such conversations)"
    refuses "${two/\"content\":\"a\"/\"content\":\"a\",\"weight\":0.5}" \
        "message 2: 'weight' is neither 0 nor 1: an answer is either trained on or not"
    refuses "${two/\"content\":\"a\"/\"content\":\"a\",\"weight\":0,\"train\":true}" \
        "message 2: 'weight' and 'train' contradict each other"
    refuses "${two/\"content\":\"a\"/\"content\":\"a\",\"from\":\"human\"}" \
        "message 2: 'role' and 'from' contradict each other"
    refuses "${two/\"content\":\"a\"/\"content\":\"a\",\"value\":\"b\"}" \
        "message 2: 'content' and 'value' contradict each other"
    refuses "${two/\"content\":\"b\"/\"content\":\"b\",\"train\":false}" \
        "no answer in it is to be trained on (--odd: what to do with such conversations)" \
        --train-on last
    # The same holds for the targets in the stream, and for the stream's header.
    chat --quiet --train-on last --to jsonl -o last.jsonl <<< "$two"
    [[ "$(head -n 1 last.jsonl)" == *'"train_on":"last"'* ]]
    [ "$(grep -o '"targets":\[\[[^]]*\]\]' last.jsonl | tr -cd '[' | wc -c)" -eq 2 ]
}

@test "chat: published data sets are read as their trainers read them, or refused by name" {
    two='"content":"u","role":"user"},{"content":"a","role":"assistant"}'
    for record in '{"prompt":"u","prompt_id":"f0","messages":[{'"$two"']}' \
        '{"prompt":"u","prompt_id":"1","messages":[{'"$two"'],"category":"Coding"}' \
        '{"id":"ai2-1","messages":[{'"$two"'],"source":"ai2"}' \
        '{"messages":[{'"$two"'],"length":8192}' \
        '{"conversation_id":"c","model":"vicuna-13b","conversation":[{'"$two"'],"turn":1,"language":"English","openai_moderation":[{"flagged":false}],"redacted":false}' \
        '{"custom_instruction":null,"topic":null,"model_name":null,"skip_prompt_formatting":false,"category":"orca","conversations":[{"from":"human","value":"u","weight":null},{"from":"gpt","value":"a","weight":null}],"views":null,"id":null,"hash":null,"system_prompt":null,"source":"x"}' \
        '{"idx":"wiz_0","conversations":[{"from":"human","value":"u"},{"from":"gpt","value":"a"}]}' \
        '{"id":"QWJhYvA_0","conversations":[{"from":"human","value":"u","markdown":null,"text":null},{"from":"gpt","value":"a"}]}' \
        '{"source":"Airoboros","conversation":[{"input":"u","output":"a"}]}' \
        '{"id":"0","data":["u","a"]}' '{"conversations":["u","a"],"source":"stackexchange"}' \
        '{"instruction":"u","input":"","output":"a","text":"Below is an instruction"}' \
        '{"instruction":"u","context":"","response":"a","category":"open_qa"}' \
        '{"instruction":"u","output":"a","file":"paper.txt"}' \
        '{"instruction":"u","output":"a"}' \
        '{"input":"","output":"a","instruction":"u","data_source":"airoboros"}' \
        '{"question":"u","answer":"a"}' \
        '{"id":"flan.1","system_prompt":"","question":"u","response":"a"}' \
        '{"type":"GSM_Rephrased","query":"u","original_question":"w","response":"a"}' \
        '{"query":"u","answer":"a","resource":"evol","lang":"python"}' \
        '{"prompt":"u","prompt_id":"b","chosen":[{'"$two"'],"rejected":[{'"$two"'],"messages":[{'"$two"'],"score_chosen":8.5,"score_rejected":2.0}' \
        '{"conversations":[{"role":"prompter","content":"u"},{"role":"assistant","content":"a"}]}'; do
        sees "$record" '[u]|> a⟨</s>⟩'
    done
    # SlimOrca's weights; Dolly's context; Alpaca's input; a conversation of many turns.
    sees \
        '{"conversations":[{"from":"system","value":"s","weight":null},{"from":"human","value":"u","weight":0.0},{"from":"gpt","value":"a","weight":1.0}]}' \
        '<s>[u]|> a⟨</s>⟩'
    sees '{"instruction":"u","context":"c","response":"a","category":"closed_qa"}' \
        '[u⏎|c]|> a⟨</s>⟩'
    sees \
        '{"source":"Taskmaster","conversation":[{"input":"u","output":"a"},{"input":"v","output":"b"}]}' \
        '[u]|> a⟨</s>⟩|[v]|> b⟨</s>⟩'
    # XTuner's system prompt, and its key for the loss.
    sees \
        '{"conversation":[{"system":"s","input":"u","output":"a","output_with_loss":false,"need_eos_token":true},{"system":"","input":"v","output":"b","output_with_loss":true}]}' \
        '<s>[u] a⟨</s>⟩[v]|> b⟨</s>⟩'
    # Nemotron's key says whether the output begins with thinking.
    sees \
        '{"system_prompt":"s","input":[{"role":"user","content":"u"}],"output":"a","reasoning":"on","generator":"R1"}' \
        '<s>[u]|> a⟨</s>⟩'
    how=' (--odd: what to do with such conversations)'
    refuses '{"chosen":"\n\nHuman: u\n\nAssistant: a","rejected":"\n\nHuman: u\n\nAssistant: b"}' \
        "'chosen': better and worse answers are not trained on$how"
    none='the record has no conversation: neither messages nor conversations, nor instruction, prompt, question, query or input together with output, response, completion or answer'
    refuses '{"text":"### Human: u### Assistant: a"}' "$none; it has a text, which --format jsonl reads"
    tokenize --quiet -m "$tok" --to jsonl <<< '{"text":"### Human: u### Assistant: a"}' | \
        grep -q '"tokens":\['
    refuses \
        '{"message_id":"6ab2","parent_id":null,"user_id":"c3","text":"u","role":"prompter","lang":"en"}' \
        "the record is one message of a tree (it has a 'parent_id'), as in OpenAssistant, but must be a whole conversation: use a data set of threads"
    refuses '{"lang":"python","raw_index":1,"index":2,"seed":"s","problem":"u","solution":"a"}' \
        "$none; it has texts under 'lang', 'seed', 'problem', 'solution': jq -c '{prompt: .A, completion: .B}' makes a pair of two of them"
    refuses \
        '{"conversation":[{"input":"u","output":"a"},{"system":"s","input":"v","output":"b"}]}' \
        "message 2: a system message is in the middle$how"
    refuses '{"conversation":[{"input":"u","output":"a","need_eos_token":false}]}' \
        "message 1: 'need_eos_token': every answer is followed by its end$how"
    # Alpaca's records in a list are no pairs of one conversation, also without an instruction.
    for key in instruction context history; do
        refuses "{\"data\":[{\"$key\":\"\",\"input\":\"u\",\"output\":\"a\"}]}" \
            "message 1: this is a record, but a message is needed: jq -c '.data[]' makes a line of each"
    done
}

@test "chat: irregular conversations end the work, or are skipped or repaired and counted" {
    how=' (--odd: what to do with such conversations)'
    odd() { # RECORD MESSAGE DROPPED MERGED REASON; "-" means that nothing is left
        refuses "$1" "$2$how"
        run --separate-stderr -0 chat --odd skip -o none.tok <<< "$1"
        [[ "$stderr" == *"0 documents, 1 skipped"*"skipped: 1 $5"* ]] || { echo "$stderr" >&2; \
            return 1; }
        local way want
        for way in drop merge; do
            want=$3
            [ $way = drop ] || want=$4
            if [ "$want" = - ]; then
                run --separate-stderr -0 chat --odd $way -o none.tok <<< "$1"
                [[ "$stderr" == *"0 documents, 1 skipped"* ]] || { echo "$stderr" >&2; return 1; }
            else
                sees "$1" "$want" --odd $way
            fi
        done
    }
    say() { # from:value ...
        local turn list=
        for turn; do list+="${list:+,}{\"from\":\"${turn%%:*}\",\"value\":\"${turn#*:}\"}"; done
        echo "{\"conversations\":[$list]}"
    }
    one='[u]|> a⟨</s>⟩'
    odd "$(say gpt:x human:u gpt:a)" "message 1: an answer, where a user's prompt was expected" \
        "$one" "$one" 'that begin with an answer'
    odd "$(say human:u gpt:a human:v)" 'the conversation does not end with an answer' "$one" \
        "$one" 'that end with a prompt'
    odd "$(say human:x human:u gpt:a)" \
        "message 2: a prompt after a prompt, where an assistant's answer was expected" "$one" \
        '[x⏎|u]|> a⟨</s>⟩' 'with two of a role in a row'
    odd "$(say human:u gpt:a gpt:x)" \
        "message 3: an answer after an answer, where a user's prompt was expected" "$one" \
        '[u]|> a⏎|>x⟨</s>⟩' 'with two of a role in a row'
    odd "$(say system:s system:t human:u gpt:a)" "message 2: this is a second system message" \
        "<s>$one" "<s⏎|t>$one" 'with a later system message'
    odd "$(say human:u gpt:a system:t human:v gpt:b)" \
        "message 3: a system message is in the middle" "$one|[v]|> b⟨</s>⟩" "$one|[v]|> b⟨</s>⟩" \
        'with a later system message'
    odd "$(say human:u 'gpt: ')" 'message 2: an empty answer' - - 'with an empty message'
    odd '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":null}]}' \
        'message 2: an empty answer' - - 'with an empty message'
    odd "$(say human:x gpt: human:u gpt:a)" 'message 2: an empty answer' "$one" '[x⏎|u]|> a⟨</s>⟩' \
        'with an empty message'
    odd '{"instruction":"","input":"","output":"a"}' 'message 1: an empty prompt' - - \
        'with an empty message'
    odd "$(say human:u)" 'no answer in it' - - 'without an answer'
    odd '{"messages":[]}' 'no answer in it' - - 'without an answer'
    odd "$(say human:u function_call:f observation:o gpt:a)" \
        "message 2: tools are not trained on: a message of 'function_call'" "$one" "$one" \
        'with tools'
    odd \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},{"role":"tool","tool_call_id":"1","content":"r"},{"role":"assistant","content":"a"}]}' \
        "message 2: tools are not trained on: a call by 'assistant'" "$one" "$one" \
        'with tools'
    odd \
        '{"tools":[{"name":"t"}],"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}' \
        "'tools': tools are not trained on" "$one" "$one" 'with tools'
    odd \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a","reasoning_content":"hm"}]}' \
        "message 2: 'reasoning_content': reasoning beside an answer is not trained on" "$one" \
        "$one" 'with reasoning'
    # A record with one answer, and a pair, have the same keys as a message.
    for key in reasoning_content reasoning thinking; do
        for record in '"input":"u","output":"a",KEY' \
            '"conversation":[{"input":"u","output":"a",KEY}]'; do
            in=
            [[ $record != *conversation* ]] || in='message 1: '
            odd "{${record/KEY/\"$key\":\"hm\"}}" \
                "$in'$key': reasoning beside an answer is not trained on" "$one" "$one" \
                'with reasoning'
        done
        odd "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"$key\":\"hm\"}" \
            "'$key' beside a list of messages: which answer it belongs to is not known: write it into that message" \
            "$one" "$one" 'with reasoning'
    done
    for key in '"tool_calls":[{"id":"1"}]' '"function_call":{"name":"f"}'; do
        name=${key%%:*}
        odd "{\"input\":\"u\",\"output\":\"a\",$key}" \
            "tools are not trained on: a call by 'assistant'" - - 'with tools'
        odd "{\"prompt\":[{\"role\":\"user\",\"content\":\"u\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"a\"}],$key}" \
            "'${name//\"/}' beside a list of messages: which answer it belongs to is not known: write it into that message" \
            "$one" "$one" 'with tools'
    done
    odd '{"input":"u","output":"a","refusal":"no"}' "'refusal': only text is understood" - - \
        'with content other than text'
    odd '{"input":"u","output":"a","mask":1}' \
        "'mask' may say that the message counts in the loss or that it does not: write \"train\": true or false instead" \
        - - 'that ask for something unsupported'
    odd '{"input":"u","output":"a","train_detail":[1]}' \
        "'train_detail': an answer is trained on as a whole or not at all: write \"train\": true or false instead" \
        - - 'that ask for something unsupported'
    # These say something about the record, or nothing.
    for key in '"reasoning":"off"' '"thinking":true' '"refusal":false' '"reasoning":null' \
        '"tool_calls":[]' '"mask":null'; do
        sees "{\"input\":\"u\",\"output\":\"a\",$key}" "$one"
        sees "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}],$key}" \
            "$one"
    done
    odd \
        '{"messages":[{"role":"user","content":[{"type":"text","text":"u"},{"type":"image_url","image_url":{"url":"x"}}]},{"role":"assistant","content":"a"}]}' \
        "message 1: 'content' holds a part of type 'image_url': only text is understood" - - \
        'with content other than text'
    odd '{"images":["a.png"],"instruction":"i","output":"o"}' "'images': only text is understood" \
        - - 'with content other than text'
    odd '{"prompt":"p","chosen":"c","rejected":"r"}' \
        "'chosen': better and worse answers are not trained on" - - 'of preferences'
    odd '{"prompt":"p","completion":"c","label":false}' \
        "'label': better and worse answers are not trained on" - - 'of preferences'
    odd \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}],"label":true}' \
        "'label': better and worse answers are not trained on" - - 'of preferences'
    odd \
        '{"conversations":[{"from":"human","value":"u"}],"chosen":{"from":"gpt","value":"a"},"rejected":{"from":"gpt","value":"b"}}' \
        "'rejected': better and worse answers are not trained on" - - 'of preferences'
    odd \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":[{"type":"reasoning","value":"hm"},{"type":"text","value":"a"}]}]}' \
        "message 2: 'content' holds a part of type 'reasoning': only text is understood" "$one" \
        "$one" 'with reasoning'
    odd \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":[{"type":"tool_call","value":"f"}]}]}' \
        "message 2: 'content' holds a part of type 'tool_call': only text is understood" - - \
        'with tools'
    odd \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a","train_detail":[{"begin_offset":0,"end_offset":0,"train":false}]}]}' \
        "message 2: 'train_detail': an answer is trained on as a whole or not at all: write \"train\": true or false instead" \
        - - 'that ask for something unsupported'
    odd '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a","mask":true}]}' \
        "message 2: 'mask' may say that the message counts in the loss or that it does not: write \"train\": true or false instead" \
        - - 'that ask for something unsupported'
    for key in '"weight":0' '"train":false' '"loss_weight":0.5'; do
        name=${key%%:*}
        odd "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}],$key}" \
            "'${name//\"/}' says that the record does not count fully in the loss: leave such records out, or leave the key out" \
            - - 'with nothing to train on'
    done
    odd '{"question":"q","choices":["a","b"],"answer":"a"}' "'choices' is not understood" - - \
        'that ask for something unsupported'
    # A merged answer is trained on only if both of its parts are.
    sees \
        '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},{"role":"user","content":"v"},{"role":"assistant","content":"b"},{"role":"assistant","content":"c","weight":0}]}' \
        "$one|[v] b⏎|c⟨</s>⟩" --odd merge
}

@test "chat: skipped records are counted by reason, repairs by kind, and unknown keys by name" {
    printf '%s\n' '{"input":"u","output":"a","id":1,"lang":"en"}' \
        '{"input":"u","output":"a","id":2}' \
        '{"conversations":[{"from":"human","value":"u"},{"from":"gpt","value":"a","markdown":{}},{"from":"human","value":"v"}]}' \
        '{"conversations":[{"from":"gpt","value":"x"},{"from":"human","value":"u"},{"from":"gpt","value":"a"},{"from":"human","value":"v"}]}' \
        '{"images":["x"],"input":"u","output":"a"}' '{"input":"u"}' 'no JSON' '{"text":"t"}' \
        '{"messages":[{"role":"narrator","content":"x"}]}' > mixed
    run --separate-stderr -0 chat --odd drop --on-error skip mixed -o mixed.tok
    [[ "$stderr" == *"4 documents, 5 skipped"* ]]
    [[ "$stderr" == \
        *"tokenize: skipped: 2 in no known form, 1 not JSON objects, 1 with content other than text, 1 with unknown roles"* ]]
    [[ "$stderr" == \
        *"tokenize: repaired: 2 prompts without an answer at the end left out, 1 answers before the first prompt left out"* ]]
    [[ "$stderr" == \
        *"tokenize: unused keys of records: 'id' (2), 'lang' (1), 'markdown of messages' (1), 'text' (1)"* ]]
    # Only irregular conversations are skipped. A damaged line still ends the program.
    run --separate-stderr -3 chat --odd skip mixed -o none
    [[ "$stderr" == \
        *"tokenize: mixed:6: 'input' has no answer beside it (output, response, completion or answer)" ]]
    [ ! -e none ]
    # The result is the same for any number of threads.
    for n in 1 2 5; do chat --threads $n --odd merge --on-error skip mixed --to jsonl -o out.$n 2> \
        report.$n; done
    cmp out.1 out.2
    cmp out.1 out.5
    cmp <(grep -v /s report.1) <(grep -v /s report.5)
    # Skipped documents that are no conversations are counted too.
    printf '%s\n' '{"text":"a"}' '{"tex":"a"}' '{"tex":"b"}' '{' > docs
    run --separate-stderr -0 tokenize -m "$tok" --on-error skip docs -o docs.tok
    [[ "$stderr" == *"1 documents, 3 skipped"*"skipped: 2 no string 'text', 1 "* ]]
}

@test "chat: a record that is not understood is refused by name" {
    refuses '{"text":"a"}' \
        'the record has no conversation: neither messages nor conversations, nor instruction, prompt, question, query or input together with output, response, completion or answer; it has a text, which --format jsonl reads'
    refuses '{"train":[{"input":"u","output":"a"}]}' \
        "the record has no conversation, but a list of records under 'train': jq -c '.train[]' makes a line of each"
    refuses '{"data":[{"instruction":"u","output":"a"}]}' \
        "message 1: this is a record, but a message is needed: jq -c '.data[]' makes a line of each"
    run --separate-stderr -3 tokenize -m "$tok" -o none <<< '{"version":1,"train":[{"text":"a"}]}'
    [[ "$stderr" == \
        *"no string 'text', but a list of records under 'train': jq -c '.train[]' makes a line of each" ]]
    # The parts of one conversation are no records.
    refuses '{"contents":[{"role":"user","parts":[{"text":"u"}]},{"role":"model","parts":[{"text":"a"}]}]}' \
        "'contents' is a list of messages as in Gemini's requests: jq -c '{messages: [(.systemInstruction // .system_instruction // empty | .role = \"system\"), .contents[] | {role, content: ([.parts[] | .text // error] | add)}]}' makes messages of it"
    sees '{"messages":[{"role":"user","content":"u"},{"role":"model","content":"a"}]}' \
        "$(seen <<< '{"prompt":"u","completion":"a"}')"
    for parts in '"segments":[{"label":true,"text":"a"}]' '"turns":[{"role":"user","text":"a"}]' \
        '"train":[{"text":"a"}]'; do
        run --separate-stderr -3 chat -o none <<< "{$parts}"
        [[ "$stderr" == *"the record has no conversation: neither "* ]]
    done
    for parts in '"segments":[{"label":true,"text":"a"}]' '"contents":[{"role":"user","parts":[]}]'; do
        run --separate-stderr -3 tokenize -m "$tok" -o none <<< "{$parts}"
        [[ "$stderr" == *"no string 'text'"* && "$stderr" != *jq* ]]
    done
    refuses '{"output":"a"}' \
        "'output' has no prompt beside it (instruction, prompt, question, query or input)"
    refuses '{"context":"c","answer":"a"}' \
        "'answer' has no prompt beside it (instruction, prompt, question, query or input)"
    refuses '{"instruction":"i","prompt":"p","output":"o"}' \
        "both 'instruction' and 'prompt': one is needed"
    refuses '{"instruction":"i","output":"o","response":"r"}' \
        "both 'output' and 'response': one is needed"
    refuses '{"question":"q","context":"c","answer":"a"}' \
        "'context' beside 'question': which of them comes first is not known: write both into 'question'"
    refuses '{"input":1,"output":"a"}' "'input' is no text"
    refuses '{"input":"a\u0000b","output":"a"}' "'input' holds a NUL character"
    # Texts are refused wherever the NUL stands, and no value is compared only up to its NUL.
    refuses '{"system":"\u0000s","instruction":"i","output":"o"}' "'system' holds a NUL character"
    refuses '{"instruction":"i","input":"\u0000c","output":"o"}' "'input' holds a NUL character"
    refuses '{"instruction":"i","output":"o","tools":"\u0000t"}' "'tools': tools are not trained on (--odd: what to do with such conversations)"
    refuses '{"instruction":"i","output":"o","tools":"[]\u0000"}' "'tools': tools are not trained on (--odd: what to do with such conversations)"
    refuses '{"instruction":"i","output":"o","source":"a\u0000b"}' "'source' holds a NUL character"
    refuses '{"messages":[{"role":"user\u0000x","content":"u"},{"role":"assistant","content":"a"}]}' \
        "message 1: 'role' holds a NUL character"
    refuses '{"messages":[{"role":"user","from":"user\u0000","content":"u"}]}' \
        "message 1: 'from' holds a NUL character"
    refuses '{"messages":[{"role":"user","content":[{"type":"text\u0000","text":"u"}]}]}' \
        "message 1: 'type' holds a NUL character"
    refuses '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a","reasoning_content":"\u0000r"}]}' \
        "message 2: 'reasoning_content': reasoning beside an answer is not trained on (--odd: what to do with such conversations)"
    run --separate-stderr -3 tokenize -m "$tok" -o none <<< '{"text":"t","source":"a\u0000b"}'
    [ "$stderr" = "tokenize: standard input:1: byte 22: 'source' holds a NUL character" ]
    refuses '{"instruction":"i","output":"o","history":[["a"]]}' "entry 1 of 'history' is not a pair of texts"
    refuses '{"messages":"a"}' "'messages' is no list"
    refuses '{"messages":"[{\"role\":\"user\",\"content\":\"a\"}]"}' \
        "'messages' is a text with JSON in it: jq -c '.messages |= fromjson' makes a list of it"
    refuses "{\"conversations\":\"[{'from': 'human', 'value': 'a'}]\"}" \
        "'conversations' is a text with a list of Python's in it: in Python ast.literal_eval(record['conversations']) makes a list of it"
    refuses '{"messages":{"role":["user","assistant"],"content":["a","b"]}}' \
        "'messages' has one list of roles and another one of texts: a single list of messages is needed, each with its role and its text"
    refuses '{"messages":[1]}' \
        "message 1: no 'role' with 'content', and no 'from' with 'value' in it"
    refuses '{"messages":[{"role":"user"}]}' "message 1: no 'content' in it"
    refuses '{"messages":[{"role":"user","content":[{"text":"a"}]}]}' \
        "message 1: part 1 of 'content' has no type"
    refuses '{"messages":[{"role":"narrator","content":"x"}]}' \
        "message 1: 'role' is 'narrator': known are system (developer), user (human), assistant (gpt, chatgpt, model) and those of tools"
    refuses \
        '{"system":"s","messages":[{"role":"system","content":"t"},{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}' \
        "'system' and the system message say different things"
    refuses '{"instruction":"i","output":["a","b"]}' "'output' is a list, where one text is needed"
    # The message names the format that may be meant.
    run --separate-stderr -3 chat -o none <<< $'instruction,input,output\na,b,c'
    [[ "$stderr" == *" (a table? in Python pandas.read_csv(FILE).to_json("* ]]
    run --separate-stderr -3 chat -o none <<< $'{\n"input": "a", "output": "b"}'
    [[ "$stderr" == *" (an object over many lines? one a line is needed: jq -c .)" ]]
    # Options that would have no effect are refused.
    for option in "--train-on last" "--odd skip" "--show 1"; do
        run --separate-stderr -2 tokenize -m "$tok" $option docs.jsonl
        [ "$stderr" = "tokenize: ${option% *} needs --format chat (see tokenize --help)" ]
    done
    run --separate-stderr -2 chat --show 0 docs.jsonl
    [ "$stderr" = "tokenize: --show must be at least 1 (see tokenize --help)" ]
    [ -z "$output" ]
    run --separate-stderr -2 chat --show 1 -o x
    [ "$stderr" = "tokenize: --show writes no stream: leave -o out (see tokenize --help)" ]
    [ ! -e x ]
}

@test "chat: --show prints that many conversations, masks control characters and marks special tokens" {
    printf '%s\n' '{"system":"s","input":"a</s>\tb\u001b[31m ","output":"c \n d"}' \
        '{"input":"u","output":"v"}' '{"input":"w","output":"x"}' 'damaged' > c.jsonl
    chat --show 2 c.jsonl > shown
    [ "$(head -n 1 shown)" = \
        '> begins what is trained on; ⟨…⟩ is a special token, ⏎ a newline, ⇥ a tab, · a space at the end of a line' ]
    [ "$(sed -n 4,6p shown)" = '  <s>[a</s>⇥b?[31m]
>  c·⏎
>  d⟨</s>⟩' ]
    [[ "$(sed -n 3p shown)" == 'c.jsonl:1: '*' tokens, '*' of them trained on' ]]
    [ "$(grep -c 'trained on$' shown)" -eq 2 ]
    # The shown tokens are those of the stream.
    n=$(chat --quiet --to jsonl c.jsonl --on-error skip | sed -n 2p | grep -o '"tokens":[^]]*' | \
        tr , '\n' | wc -l)
    [[ "$(sed -n 3p shown)" == "c.jsonl:1: $n tokens, "* ]]
    # More conversations are requested than exist. All are shown, then the error in the next line.
    run --separate-stderr -3 chat --show 9 c.jsonl
    [[ "$stderr" == "tokenize: c.jsonl:4: "* ]]
    run --separate-stderr -0 chat --show 9 --on-error skip c.jsonl
    [[ "$stderr" == *"skipped: 1 not JSON objects"* ]]
    # Colours are used only on a terminal.
    [[ "$(cat shown)" != *$'\033'* ]]
    script -qec "$BIN/tokenize -m $tok --format chat --template own.json --show 1 c.jsonl" \
        /dev/null > coloured
    grep -q $'\033\[1;32m> ' coloured
    [ \
        "$(NO_COLOR=1 script -qec "$BIN/tokenize -m $tok --format chat --template own.json --show 1 c.jsonl" /dev/null | grep -c $'\033')" \
        -eq 0 ]
}

# ---- requests ----

@test "generate: the keys of a JSON line override the options" {
    make_base
    completion() { sed 's/.*"completion":"\(\([^"\\]\|\\.\)*\)".*/\1/'; }
    ask() { generate --quiet -m base --format jsonl "${@:2}" <<< "$1"; }
    [[ "$(ask '{"prompt":"abc","max_tokens":2}' -n 5)" == *'"tokens":2,"stop":"length"}' ]]
    [[ "$(ask '{"prompt":"abc","max_new_tokens":3}' -n 5)" == *'"tokens":3,'* ]]
    [[ "$(ask '{"prompt":"abc","max_tokens":null}' -n 5)" == *'"tokens":5,'* ]]
    # The result equals that of the program with the same options. With a seed of its own, it does
    # not depend on the line's number.
    for options in '"temperature":1.5,"seed":7|--temperature 1.5 --seed 7' \
        '"temperature":2,"top_k":5,"top_p":0.9,"min_p":0.1,"seed":3|--temperature 2 --top-k 5 --top-p 0.9 --min-p 0.1 --seed 3' \
        '"repetition_penalty":1.7|--repetition-penalty 1.7' '"temperature":0|' \
        '"temperature":1,"top_k":-1,"seed":2|--temperature 1 --seed 2'; do
        want=$(generate --quiet -m base -p abc -n 8 ${options#*|})
        got=$(printf '{"prompt":"x"}\n{"prompt":"abc",%s}\n' "${options%%|*}" | \
            generate --quiet -m base --format jsonl -n 8 --temperature 0 | tail -n 1 | \
            perl -MJSON::PP -ne 'print decode_json($_)->{completion}')
        [ "$got" = "$want" ]
    done
    # The next line has the options of the command line again.
    printf '%s\n' \
        '{"prompt":"abc","temperature":2,"max_tokens":1,"stop":["a","e","i","o","u"," "]}' \
        '{"prompt":"abc"}' | generate --quiet -m base --format jsonl -n 4 > two
    [ "$(tail -n 1 two)" = "$(ask '{"prompt":"abc"}' -n 4)" ]
    whole=$(ask '{"prompt":"abc"}' -n 12 --temperature 2 --seed 5 | completion)
    stop=${whole:4:2}
    for stops in "\"stop\":\"$stop\"" "\"stop\":[\"zzzz\",\"$stop\"]" \
        "\"stop_sequences\":[\"$stop\"]"; do
        line=$(ask "{\"prompt\":\"abc\",$stops}" -n 12 --temperature 2 --seed 5 --stop never)
        [ "$(completion <<< "$line")" = "${whole%%"$stop"*}" ]
        [[ "$line" == *'"stop":"stop"'* ]]
    done
    # Answered lines can be answered again. In them "stop" says why the answer ended.
    ask '{"prompt":"abc"}' -n 3 > answered
    [ "$(ask "$(cat answered)" -n 3)" = "$(cat answered)" ]
    # The lines may be an array, and have blank lines, a byte order mark or compression.
    printf '\xef\xbb\xbf[{"prompt":"abc"},\n{"prompt":"d"}]' | gzip | \
        generate --quiet -m base --format jsonl -n 2 > array
    printf '\n{"prompt":"abc"}\r\n\n{"prompt":"d"}\n' | \
        generate --quiet -m base --format jsonl -n 2 | cmp - array
}

@test "generate: unsupported keys of a line are refused by name; other keys are copied to the answer and reported" {
    make_base
    refused() { # KEYS MESSAGE
        run --separate-stderr -3 generate --quiet -m base --format jsonl -n 1 <<< \
            "{\"prompt\":\"a\",$1}"
        [ "$stderr" = "generate: standard input: line 1: $2" ] || { echo "$stderr" >&2; return 1; }
    }
    for key in '"n":2' '"logit_bias":{"5":1}' '"messages":[{"role":"user","content":"a"}]' \
        '"presence_penalty":0.5' '"echo":true' '"stream":true' '"tools":[{}]' \
        '"response_format":{"type":"json_object"}' '"best_of":3' '"logprobs":2' \
        '"logprobs":0' '"logprobs":true' '"prompt_logprobs":0' \
        '"ignore_eos":true' '"body":{"a":1}'; do
        name=${key%%:*}
        run --separate-stderr -3 generate --quiet -m base --format jsonl -n 1 <<< \
            "{\"prompt\":\"a\",$key}"
        # The message says what to do instead.
        [[ "$stderr" == \
            "generate: standard input: line 1: '${name//\"/}' is not supported: "?*" "?* ]]
    done
    refused '"max_tokens":0' "'max_tokens' must be a whole number of at least 1"
    refused '"max_tokens":2.5' "'max_tokens' must be a whole number of at least 1"
    refused '"max_tokens":1,"max_new_tokens":2' \
        "'max_tokens' and 'max_new_tokens' mean the same: leave one out"
    refused '"temperature":-1' "'temperature' must be a number of at least 0"
    refused '"temperature":"hot"' "'temperature' must be a number of at least 0"
    refused '"top_p":0' "'top_p' must be a number in (0, 1]"
    refused '"min_p":2' "'min_p' must be a number in [0, 1]"
    refused '"top_k":-2' "'top_k' must be a whole number of at least -1"
    refused '"repetition_penalty":0' "'repetition_penalty' must be a number above 0"
    refused '"seed":"a"' "'seed' must be a whole number"
    refused '"stop":[""]' "'stop' must be a text that is not empty, or a list of such texts"
    refused '"system":"s"' "'system' needs --chat"
    for value in '["s"]' '[{"type":"text","text":"s"}]' '{}' false 3; do
        refused '"system":'"$value" "'system' must be a text"
    done
    # As in transformers, do_sample: false is greedy at any temperature.
    refused '"do_sample":true' \
        "'do_sample' is true, but the temperature is 0, which takes the most likely token: write a temperature"
    refused '"do_sample":"no"' "'do_sample' must be true or false"
    greedy() { generate --quiet -m base --format jsonl -n 8 <<< "{\"prompt\":\"abc\",$1}" |
        perl -MJSON::PP -ne 'print decode_json($_)->{completion}'; }
    [ "$(greedy '"do_sample":false,"temperature":5,"seed":1')" = "$(greedy '"temperature":0')" ]
    [ "$(greedy '"do_sample":true,"temperature":5,"seed":1')" = "$(greedy '"temperature":5,"seed":1')" ]
    [ "$(greedy '"do_sample":true,"temperature":5,"seed":1')" != "$(greedy '"temperature":0')" ]
    refused '"suffix":"\u0000a"' \
        "'suffix' is not supported: a text can only be continued, not filled in: leave it out"
    run --separate-stderr -3 generate --quiet -m base --format jsonl -n 1 --chat own.json \
        <<< '{"prompt":"a","system":"\u0000s"}'
    [ "$stderr" = "generate: standard input: line 1: 'system' holds a NUL character" ]
    run --separate-stderr -0 generate -m base --format jsonl -n 1 <<< \
        '{"prompt":"a","n":1,"stream":false,"logit_bias":null,"tools":[],"presence_penalty":0,"id":7,"temprature":2}'
    [[ "$output" == '{"prompt":"a","n":1,'*'"id":7,"temprature":2,"completion":'* ]]
    [[ "$stderr" == \
        *"generate: unused keys, which are copied to the answers: 'id' (1), 'temprature' (1)"* ]]
    # If a reference answer has the key that the new answer needs, a message says so. A line that
    # was answered before is simply answered again.
    reference='{"prompt":"a","completion":"theirs","max_tokens":1}'
    run --separate-stderr -0 generate -m base --format jsonl --quiet <<< "$reference"
    [ "$stderr" = \
        "generate: keys of the lines that were replaced by keys of the answers: 'completion' (1): rename them to keep them" ]
    run --separate-stderr -0 generate -m base --format jsonl --quiet <<< "$output"
    [ -z "$stderr" ]
}

@test "generate: a prompt may have a byte order mark and CR LF; files of other kinds are named" {
    make_base
    want=$(generate --quiet -m base -p $'ab\ncd' -n 4)
    printf '\xef\xbb\xbfab\r\ncd\r\n' > prompt
    [ "$(generate --quiet -m base -f prompt -n 4)" = "$want" ]
    gzip prompt
    [ "$(generate --quiet -m base -f prompt.gz -n 4)" = "$want" ]
    printf 'a\0b\0c\0d\0' > x
    run --separate-stderr -3 generate --quiet -m base -f x
    [ "$stderr" = "generate: x: text in UTF-16: iconv -f UTF-16 -t UTF-8 makes UTF-8 of it" ]
    run --separate-stderr -3 generate --quiet -m base -f docs.tok
    [ "$stderr" = "generate: docs.tok: a stream of LongQLoRA, where a prompt is needed" ]
    run --separate-stderr -3 generate --quiet -m base --format jsonl -f docs.tok
    [ "$stderr" = "generate: docs.tok: a stream of LongQLoRA, where JSON is needed: text is needed" ]
}
