load helper

# Tests tokenizers whose files contradict each other. The ids are those of transformers 5.

# Makes a folder with a byte-level tokenizer.json of 420 pieces, whose only added token has the id
# 420, this text and these flags (JSON).
with_token() { # DIRECTORY TEXT FLAGS
    local token='{"id": 420, "content": "'$2'", "single_word": false, "lstrip": false, '$3'}'
    mkdir "$1"
    TOKEN=$token perl -pe 's/"added_tokens": \[\]/"added_tokens": [$ENV{TOKEN}]/' \
        "$golden/tokenizer/bytes.json" > "$1/tokenizer.json"
    grep -q '"id": 420' "$1/tokenizer.json"
}

@test "tokenizer files: many pieces and few merges are no reason to refuse a tokenizer" {
    mkdir many
    perl -pe \
        's/("vocab": \{)/$1 . join "", map { "\"unused$_\":" . ($_ + 420) . "," } 0 .. 99999/e' \
        "$golden/tokenizer/bytes.json" > many/tokenizer.json
    printf 'hi' > text
    [ "$(ids_of text -m many)" = 71,72 ]
}

@test "tokenizer files: added_tokens.json leaves a token the flags that tokenizer.json gives it" {
    printf 'x <|im_end|> y' > text
    with_token t '<|im_end|>' '"rstrip": false, "normalized": false, "special": true'
    echo '{"<|im_end|>": 420}' > t/added_tokens.json
    [ "$(ids_of text -m t)" = 87,322,91,313,62,339,67,91,29,297 ]
    [ "$(ids_of text -m t --parse-special)" = 87,220,420,297 ]
    printf 'x<|end|> y' > text
    with_token r '<|end|>' '"rstrip": true, "normalized": false, "special": true'
    echo '{"<|end|>": 420}' > r/added_tokens.json
    [ "$(ids_of text -m r)" = 87,27,91,339,67,91,29,297 ]
    [ "$(ids_of text -m r --parse-special)" = 87,420,88 ]
    # A token that only added_tokens.json has is found in any text.
    echo '{"<|end|>": 420, "=>": 421}' > r/added_tokens.json
    printf 'x=>y' > text
    [[ ",$(ids_of text -m r)," == *,421,* ]]
}

@test "tokenizer files: a token that is special in tokenizer.json stays special in added_tokens_decoder" {
    printf 'x </s> y' > text
    with_token t '</s>' '"rstrip": false, "normalized": false, "special": true'
    echo '{"added_tokens_decoder": {"420": {"content": "</s>", "lstrip": false, "rstrip": false, "normalized": false, "single_word": false, "special": false}}}' \
        > t/tokenizer_config.json
    [ "$(ids_of text -m t)" = 87,322,14,82,29,297 ]
    [ "$(ids_of text -m t --parse-special)" = 87,220,420,297 ]
    # A class that reads only the pieces and merges of tokenizer.json finds the token in any text.
    sed 's/^{/{"tokenizer_class": "GPT2Tokenizer", "unk_token": null, "bos_token": null, "eos_token": null, /' \
        t/tokenizer_config.json > new
    mv new t/tokenizer_config.json
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text
    [[ "$stderr" == \
        *"turns it into a GPT2Tokenizer (tokenizer_class), which takes from added_tokens_decoder alone whether a token is special: "* ]]
    [ "$(ids_of text -m t)" = 87,322,14,82,29,297 ]
    sed 's/"special": false/"special": true/' t/tokenizer_config.json > new
    mv new t/tokenizer_config.json
    run --separate-stderr -0 tokenize --format text --to jsonl -m t text
    [[ "$stderr" != *GPT2Tokenizer* ]]
}

@test "tokenizer files: a control piece of tokenizer.model is special unless added_tokens_decoder says otherwise" {
    make_base
    mkdir t
    spm_train --input="$made/text" --model_prefix=t/tokenizer --model_type=bpe --vocab_size=300 \
        --control_symbols='<x>' --hard_vocab_limit=false --normalization_rule_name=identity \
        --remove_extra_whitespaces=false --minloglevel=2 > /dev/null 2>&1
    printf 'ab<x>c' > text
    [[ ",$(ids_of text -m t)," != *,3,* ]]
    [[ ",$(ids_of text -m t --parse-special)," == *,3,* ]]
    echo '{"added_tokens_decoder": {"3": {"content": "<x>", "lstrip": false, "rstrip": false, "normalized": false, "single_word": false, "special": false}}}' \
        > t/tokenizer_config.json
    [[ ",$(ids_of text -m t)," == *,3,* ]]
}

@test "tokenizer files: split_special_tokens in tokenizer_config.json is refused unless it is false" {
    printf 'the' > text
    with_token t '</s>' '"rstrip": false, "normalized": false, "special": true'
    echo '{"split_special_tokens": false}' > t/tokenizer_config.json
    [ -n "$(ids_of text -m t)" ]
    for value in true null 1; do
        echo "{\"split_special_tokens\": $value}" > t/tokenizer_config.json
        run --separate-stderr -3 tokenize --format text -m t text
        [[ "$stderr" == \
            "tokenize: t/tokenizer.json: tokenizer_config.json: 'split_special_tokens': only false is supported, "*": remove the key ("* ]]
    done
}

# Writes to standard output the tokenizer.json that belongs to tok/tokenizer.model. CHANGE is Perl
# code that changes its parts: the list @pieces, the list @merges and the object $j.
json_of_model() { # [CHANGE]
    spm_export_vocab --model=tok/tokenizer.model --output_format=vocab | \
        CHANGE=${1:-} perl -CSD -Mutf8 -MJSON::PP -e '
            my (@pieces, %score, @merges);
            while (<STDIN>) {
                chomp;
                my ($piece, $score) = split /\t/;
                push @pieces, $piece;
                $score{$piece} = $score if $piece !~ /^<.*>$/;
            }
            for my $piece (grep { exists $score{$_} } @pieces) {
                for (1 .. length($piece) - 1) {
                    my ($left, $right) = (substr($piece, 0, $_), substr($piece, $_));
                    push @merges, [$left, $right] if exists $score{$left} && exists $score{$right};
                }
            }
            @merges = sort { $score{"@$b[0]@$b[1]"} <=> $score{"@$a[0]@$a[1]"} } @merges;
            my @added = map { { id => $_, content => $pieces[$_], special => JSON::PP::true } } 0 .. 2;
            my $j = { version => "1.0", added_tokens => \@added,
                      normalizer => { type => "Sequence", normalizers => [
                          { type => "Prepend", prepend => "▁" },
                          { type => "Replace", pattern => { String => " " }, content => "▁" }] },
                      pre_tokenizer => undef, post_processor => undef, decoder => undef,
                      model => { type => "BPE", unk_token => "<unk>", fuse_unk => JSON::PP::true,
                                 byte_fallback => JSON::PP::true } };
            eval "use utf8; $ENV{CHANGE}; 1" or die;
            $j->{model}{vocab} = { map { $pieces[$_] => $_ } 0 .. $#pieces };
            $j->{model}{merges} = \@merges;
            print JSON::PP->new->encode($j)'
}

@test "tokenizer files: tokenizer.model is used only if the tokenizer.json beside it is the same tokenizer" {
    make_base
    cp -rL tok t
    printf 'the  wordy' > text
    plain=$(ids_of text -m tok --no-bos)
    json_of_model > t/tokenizer.json
    [ -n "$plain" ]
    [ "$(ids_of text -m t)" = "$plain" ]
    [ "$(ids_of text -m t/tokenizer.json)" = "$plain" ]
    differs() { # CHANGE TEXT: must be refused with this reason, but the file itself must be read
        json_of_model "$1" > t/tokenizer.json
        run --separate-stderr -3 tokenize --format text -m t text
        [[ "$stderr" == \
            "tokenize: t/tokenizer.model: tokenizer.json beside it is another tokenizer: "$2"; name the file tokenizer.json itself, which transformers reads too, or move one of the two to another folder" ]] ||
            { echo "$stderr"; return 1; }
        [ -n "$(ids_of text -m t/tokenizer.json)" ]
    }
    # These give the pieces of a text other ids, or cut it into other pieces.
    differs '@pieces[300, 301] = @pieces[301, 300]' \
        "piece 30[01] is '*' in tokenizer.model and '*' there"
    differs 'push @pieces, "new"' "its piece 'new' is not in tokenizer.model"
    differs 'my %gone = map { $_ => 1 } splice @pieces, 399; @merges = grep { !$gone{join "", @$_} && !$gone{$$_[0]} && !$gone{$$_[1]} } @merges' \
        "it lacks piece 399 '*'"
    differs 'pop @merges' "it lacks a merge that makes '*'"
    differs '@merges = reverse @merges' "merge *, which makes '*', comes earlier in tokenizer.model"
    differs '$j->{normalizer}{normalizers}[1]{content} = "_"' \
        'its normalizer or pre_tokenizer changes or cuts text otherwise'
    differs '$j->{pre_tokenizer} = { type => "Digits", individual_digits => JSON::PP::true }' \
        'its normalizer or pre_tokenizer changes or cuts text otherwise'
    differs 'shift @{$j->{normalizer}{normalizers}}' 'it puts no space before a text'
    differs '$j->{model}{byte_fallback} = JSON::PP::false' 'it lacks byte_fallback'
    differs '$j->{model}{ignore_merges} = JSON::PP::true' 'it has ignore_merges'
    # These give the same ids: more added tokens, and Metaspace instead of the normalizer.
    json_of_model 'push @pieces, "<more>"; push @added, { id => 400, content => "<more>" }' > \
        t/tokenizer.json
    [ "$(ids_of text -m t)" = "$plain" ]
    json_of_model '$j->{normalizer} = undef; $j->{pre_tokenizer} = { type => "Metaspace", replacement => "▁", prepend_scheme => "first", split => JSON::PP::false }' \
        > t/tokenizer.json
    [ "$(ids_of text -m t)" = "$plain" ]
    # Another kind of model, a file that is cut short, and one that is no object.
    echo '{"model": {"type": "Unigram", "vocab": []}}' > t/tokenizer.json
    run --separate-stderr -3 tokenize --format text -m t text
    [[ "$stderr" == *"t/tokenizer.model: tokenizer.json beside it is another tokenizer: its model is not BPE; "* ]]
    json_of_model | head -c 3000 > t/tokenizer.json
    run --separate-stderr -3 tokenize --format text -m t text
    [[ "$stderr" == "tokenize: t/tokenizer.model: t/tokenizer.json: line "* ]]
    echo '[]' > t/tokenizer.json
    run --separate-stderr -3 tokenize --format text -m t text
    [[ "$stderr" == "tokenize: t/tokenizer.model: t/tokenizer.json: not a JSON object" ]]
}

@test "tokenizer files: a NUL character in a file is named in plain words" {
    printf 'the' > text
    with_token t 'a\u0000b' '"rstrip": false, "normalized": false, "special": true'
    run --separate-stderr -3 tokenize --format text -m t text
    [[ "$stderr" == \
        "tokenize: t/tokenizer.json: JSON: line "*", column "*": a text has a NUL character (\u0000)" ]]
}
