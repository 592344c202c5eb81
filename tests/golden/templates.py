"""Formats conversations with the programs and models after which our templates are named.

    python templates.py templates chat SOURCES          (transformers 5.24.0, tokenizers 0.23.3, spm_train of Debian 12)

SOURCES has, each checked out under its last name: huggingface/huggingface.js (fe42e68), openvinotoolkit/openvino.genai
(da1db86), tatsu-lab/stanford_alpaca (761dc5b), yangjianxin1/LongQLoRA (ade0d97), and the folder `fastchat` of fschat
0.2.36.

Written are
- spm-legacy/, spm-first/: a small SentencePiece model, with a tokenizer_config.json whose key legacy is true or false;
- cases.jsonl: the template (and the digest of the published text's form), the tokenizer, a conversation; its tokens,
  targets and prompts. Targets are the tokens that the reference's own code trains on. For a chat_template they are the
  tokens that overlap an answer and its end. Prompts are the tokens before each answer;
- forms.jsonl: synthetic texts, and their forms by Jinja's own lexer.

The published texts themselves are not written. lib/tokenizer/chat_known.c has the digests of their forms.
"""
import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types

from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

JINJA = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])


# ---- the form of a text: the tokens of Jinja's lexer, without white space ----

def form(text):
    out, gap = "", False
    for _, kind, value in JINJA.lex(text):
        if kind == "whitespace":
            gap = True
            continue
        if kind.startswith("comment"):
            continue
        if kind in ("block_begin", "variable_begin"):
            value = value[:2]
        elif kind in ("block_end", "variable_end"):
            value = value.strip()[-2:]
        elif kind == "string":
            value = value.replace("\n", "\\n")
        if gap and kind != "data" and re.match(r"\w", value) and re.search(r"\w$", out):
            out += " "
        gap = False
        out += value
    return out


def digest(text):
    return subprocess.run(["xxhsum", "-H2", "-"], input=text.encode(), capture_output=True, check=True).stdout.decode().split()[0]


# ---- the published texts ----

def openvino(sources):
    spec = importlib.util.spec_from_file_location("configs", f"{sources}/openvino.genai/tests/python_tests/data/tokenizer_configs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: config["chat_template"] for name, config in module.get_tokenizer_configs().items()}


def automap(sources):
    """Returns the texts that huggingface.js lists for ollama's models. Its string literals are valid Python."""
    source = open(f"{sources}/huggingface.js/packages/ollama-utils/src/chat-template-automap.ts", encoding="utf-8").read()
    found = re.findall(r'model: "([^"]+)",\n\t\tgguf: (".*?[^\\]"|\'.*?[^\\]\'),\n', source, re.S)
    return {f"ollama {name}": ast.literal_eval(text) for name, text in found}


# The origin of the text, and our template.
PUBLISHED = [
    ("meta-llama/Llama-2-7b-chat-hf", "llama-2"),
    ("codellama/CodeLlama-34b-Instruct-hf", "llama-2"),
    ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3"),
    ("MLP-KTLim/llama-3-Korean-Bllossom-8B", "llama-3"),
    ("ollama library/dolphin-llama3:8b", "llama-3"),  # Meta's own of April 2024
    ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1"),
    ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "zephyr"),
    ("ghost-x/ghost-7b-alpha", "zephyr"),
    ("Felladrin/Llama-68M-Chat-v1", "chatml"),  # teknium/OpenHermes-2.5-Mistral-7B's
    ("ollama library/yi-coder:1.5b", "chatml"),
    ("cognitivecomputations/dolphin-2.6-mistral-7b-dpo-laser", "chatml"),
    ("abhishek/autotrain-llama3-70b-orpo-v1", "chatml"),
    ("TheBloke/Mistral-7B-OpenOrca-GPTQ", "chatml"),
    ("NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO", "chatml"),
    ("cognitivecomputations/dolphin-2.8-mistral-7b-v02", "chatml"),
    ("ollama library/hermes3:70b", "chatml"),
    ("Qwen/Qwen1.5-0.5B", "chatml"),
    ("Qwen/Qwen2-7B-Instruct", "chatml"),
    ("Qwen/Qwen2.5-3B-Instruct", "chatml"),
    ("ollama library/qwen2.5:0.5b", "chatml"),
    ("ollama library/smollm2:135m", "chatml"),
    ("ollama library/opencoder:8b", "chatml"),
    ("Nondzu/zephyr-speakleash-010-pl-3072-32-16-0.01", "chatml"),
    ("ours", "chatml"),
    ("mistralai/Mistral-7B-Instruct-v0.1", "mistral"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-v3"),
    ("mistralai/Mistral-Nemo-Instruct-2407", "mistral-nemo"),
    ("TheBloke/Mixtral-8x7B-Instruct-v0.1-GPTQ", "mistral-2023"),
    ("abacusai/Smaug-Mixtral-v0.1", "mistral-2023"),
    ("TheBloke/Mistral-7B-Instruct-v0.1-GPTQ", "mistral-2023-space"),
]
# The text in docs/formats/chat_template.md.
OURS = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
ON_BYTES = "llama-3", "llama-3.1", "chatml", "mistral-nemo"  # tested with the tokenizer of chat/, a byte-level one
ENDS = {"llama-3": "<|eot_id|>", "llama-3.1": "<|eot_id|>", "chatml": "<|im_end|>"}
NO_SYSTEM = "mistral-2023", "mistral-2023-space"
LAST_SYSTEM = "mistral-v3", "mistral-nemo"  # these put the system prompt only before a question without an answer

# A system prompt, prompts and answers.
CONVERSATIONS = [
    (None, [("Hi there", "Hello.")]),
    ("Be brief.", [("a?", "b c")]),
    (None, [("What is 2+2?", "4"), ("And 3+3?", "It is 6, of course."), ("Why?", "(so)")]),
    ("Du bist der Geist.", [("Größe? слово", "世界 \U0001f600"), ("x->y;\tz", "don't\n\nstop")]),
    (None, [("  spaced \n", "\n\nnew lines \n"), ("\nnext", " 1. one\n2. two ")]),
    (" S ", [(" x ", "  y"), ("z\n\n", "w ")]),
    ("", [("q", "a")]),
    ("Be brief.", [("  ", "Yes.")]),
    (None, [("Hi", "]] yes"), ("q", "] no")]),
]


# ---- tokenizers ----

WORDS = ("the of and to a in is user assistant system answer question instruction response that describes write "
         "appropriately completes request chat between curious artificial intelligence gives helpful detailed polite")


def make_tokenizer(directory):
    """Makes pieces of a few words, with legacy true and false."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/text", "w", encoding="utf-8") as f:
            for i, a in enumerate(WORDS.split()):
                # Pieces that may cross the beginning of an answer: ":)" and "]]". "kq" has priority over "zk".
                f.writelines(f"{a} {b}, USER: {b}. ASSISTANT: {a} :) {b}:) ]] x]] y]] {a}kq {b}kq {a}zk\n" for b in WORDS.split()[i:] + WORDS.split()[:i])
        subprocess.run(["spm_train", f"--input={folder}/text", f"--model_prefix={folder}/m", "--model_type=bpe", "--vocab_size=460",
                        "--byte_fallback=true", "--character_coverage=0.9999", "--split_digits=true", "--minloglevel=2",
                        "--normalization_rule_name=identity", "--remove_extra_whitespaces=false", "--allow_whitespace_only_pieces=true"],
                       check=True)
        for name, legacy in (("spm-legacy", True), ("spm-first", False)):
            os.makedirs(f"{directory}/{name}", exist_ok=True)
            shutil.copy(f"{folder}/m.model", f"{directory}/{name}/tokenizer.model")
            with open(f"{directory}/{name}/tokenizer_config.json", "w", encoding="utf-8") as f:
                json.dump({"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                           "pad_token": "<unk>", "add_bos_token": True, "add_eos_token": False, "padding_side": "right", "model_max_length": 2048}, f)
                f.write("\n")


# ---- references ----

def messages_of(system, turns):
    messages = [] if system is None else [{"role": "system", "content": system}]
    for prompt, answer in turns:
        messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return messages


def by_template(tokenizer, text, end, system, turns, last_system):
    """Renders and encodes with transformers. An answer begins where the shorter conversation before it ends."""
    messages = messages_of(system, turns)

    def render(count, asks):
        # A template may put the system prompt only into a question without an answer. It is removed for the comparison.
        shown = messages[1:count] if last_system and system is not None else messages[:count]
        return tokenizer.apply_chat_template(shown, chat_template=text, tokenize=False, add_generation_prompt=asks)

    def ids(count, asks):
        got = tokenizer.apply_chat_template(messages[:count], chat_template=text, tokenize=True, add_generation_prompt=asks)
        return got["input_ids"] if hasattr(got, "keys") else got

    whole = render(len(messages), False)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    tokens = ids(len(messages), False)
    assert tokens == encoded["input_ids"]
    targets, prompts = [], []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = render(i, True)
        assert whole.startswith(before), (before, whole)
        stop = whole.index(end, len(before)) + len(end)
        inside = [k for k, (a, b) in enumerate(encoded["offset_mapping"]) if b > len(before) and a < stop]
        targets.append([inside[0], inside[-1] + 1])
        prompts.append(ids(i, True))
    return {"tokens": tokens, "targets": targets, "prompts": prompts}


def module_of(path, name, **others):
    for other, module in others.items():
        sys.modules[other.replace("__", ".")] = module
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ranges(labels):
    found = []
    for i, label in enumerate(labels):
        if label == -100:
            continue
        if found and found[-1][1] == i:
            found[-1][1] = i + 1
        else:
            found.append([i, i + 1])
    return found


def by_fastchat(sources, tokenizer, system, turns):
    sys.path.insert(0, sources)
    from fastchat.conversation import get_conv_template
    conversation = get_conv_template("vicuna_v1.1")
    if system is not None:
        conversation.set_system_message(system)
    adapter = types.ModuleType("fastchat.model.model_adapter")
    adapter.get_conversation_template = lambda name: conversation
    train = module_of(f"{sources}/fastchat/train/train.py", "fastchat_train", fastchat__model=types.ModuleType("fastchat.model"),
                      fastchat__model__model_adapter=adapter)
    source = [part for prompt, answer in turns for part in ({"from": "human", "value": prompt}, {"from": "gpt", "value": answer})]
    made = train.preprocess([source], tokenizer)
    count = int(made["attention_mask"][0].sum())
    tokens, labels = made["input_ids"][0][:count].tolist(), made["labels"][0][:count].tolist()
    prompts = []
    for i in range(len(turns)):
        conversation.messages = []
        for prompt, answer in turns[:i]:
            conversation.append_message("USER", prompt)
            conversation.append_message("ASSISTANT", answer)
        conversation.append_message("USER", turns[i][0])
        conversation.append_message("ASSISTANT", None)
        prompts.append(tokenizer(conversation.get_prompt()).input_ids)
    # If FastChat's own count of tokens is wrong, it warns and trains on nothing.
    return {"tokens": tokens, "targets": ranges(labels) or None, "prompts": prompts}


def by_stanford(sources, tokenizer, instruction, more, output):
    utils = types.ModuleType("utils")
    utils.jload = lambda path: [{"instruction": instruction, "input": more, "output": output}]
    train = module_of(f"{sources}/stanford_alpaca/train.py", "alpaca_train", utils=utils)
    made = train.SupervisedDataset("", tokenizer)
    prompt = train.PROMPT_DICT["prompt_input" if more else "prompt_no_input"].format(instruction=instruction, input=more)
    return {"tokens": made.input_ids[0].tolist(), "targets": ranges(made.labels[0].tolist()), "prompts": [tokenizer(prompt).input_ids]}


def by_longqlora(sources, tokenizer, prompt, answer):
    loguru = types.ModuleType("loguru")
    loguru.logger = types.SimpleNamespace(info=lambda text: None)
    dataset = module_of(f"{sources}/LongQLoRA/component/dataset.py", "longqlora_dataset", loguru=loguru)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as f:
        f.write(json.dumps({"input": prompt, "output": answer}) + "\n")
        f.flush()
        made = dataset.VicunaSFTDataset(f.name, tokenizer, 2048)
    one = made[0]
    count = sum(one["attention_mask"])
    # script/inference/chat.py makes its prompt so.
    asked = made.input_template.format(input=prompt.strip())
    return {"tokens": one["input_ids"][:count], "targets": ranges(one["labels"][:count]),
            "prompts": [tokenizer(asked, add_special_tokens=False).input_ids]}


# ---- files ----

def template_cases(texts, tokenizers):
    seen = set()
    for name, template in PUBLISHED:
        text = texts[name]
        conversations = CONVERSATIONS if template not in seen else CONVERSATIONS[1:3]
        seen.add(template)
        for place in ("../chat",) if template in ON_BYTES else ("spm-legacy", "spm-first"):
            for system, turns in conversations:
                if system is not None and template in NO_SYSTEM:
                    continue
                tokenizer = tokenizers[place]
                got = by_template(tokenizer, text, ENDS.get(template) or tokenizer.eos_token, system, turns, template in LAST_SYSTEM)
                yield {"template": template, "of": name, "digest": digest(form(text)), "tokenizer": place, "system": system, "turns": turns} | got


def code_cases(sources, tokenizers):
    for place in ("spm-legacy", "spm-first"):
        tokenizer = tokenizers[place]
        for system, turns in CONVERSATIONS:
            case = {"tokenizer": place, "system": system, "turns": turns}
            # SentencePiece, which FastChat uses, adds a space before a text that begins with a space. transformers 5 does not.
            if not (system is not None and (not system or system[0] == " ")):
                yield {"template": "vicuna"} | case | by_fastchat(sources, tokenizer, system, turns)
            if system is not None or len(turns) > 1:
                continue
            yield {"template": "longqlora"} | case | by_longqlora(sources, tokenizer, *turns[0])
            for more in ("", "an input"):
                yield {"template": "alpaca", "input": more} | case | by_stanford(sources, tokenizer, turns[0][0], more, turns[0][1])
        for prompt, answer in (("  a ", " b\n"), ("(c)", ")d"), ("Write.", "\n\n1. x")):
            case = {"tokenizer": place, "system": None, "turns": [(prompt, answer)]}
            yield {"template": "longqlora"} | case | by_longqlora(sources, tokenizer, prompt, answer)
            yield {"template": "alpaca", "input": ""} | case | by_stanford(sources, tokenizer, prompt, "", answer)


FORMS = [
    "", "a", "a\n", "a\n\n", "{{ a }}", "{{a}}\n", "{{- a -}}", "x {{- a -}} y", " {{ a }} ", "{% if a %}b{% endif %}",
    "{% if  a %}\nb\n{% endif %}\n", "  {% if a %}\n  b\n  {% endif %}\n", "\n  {%- if a -%}\n  b\n  {%- endif -%}\n c",
    "a {% if b %} c", "a\n\t{% if b %}\n\nc", "{%+ if a %} b", "x\n  {%+ if a %}\n b", "{% if a +%}\n b", "{# a #}", "a {# b #} c", "a\n {# b #}\n c",
    "{#- a -#} b", "a  {#- b -#}  c", "{{ 'a  b' }}", "{{ \"a\" + 'b' }}", "{{ 'a\nb' }}", "{{ 'a\\nb' }}", "{{ 'it\\'s' }}", "{{ '}}' }}", "{{ {'a': 1} }}",
    "{{ a['b'] }}{{ a [ 'b' ] }}", "{{ not a }}", "{{ a+b }}{{ a + b }}", "{% set x = 1 %}{{ x }}", "{{ a|trim }}{{ a | trim }}", "{{ f(a, b)}}",
    "{{ a is defined and b }}", "{%- for m in messages -%}{{- m -}}{%- endfor -%}\r\n", "{%for m in messages%}\n\n{{m}}\r{%endfor%}", "\t{{ a }}\n\t{% if b %}\n",
    "{% if a %}\n\n  {% if b %}\n", "ä {{ 'ü' }} ö", "{ { a } }", "{", "{{ a }}{", "x\n  {% if a %}{# b #}\n   {{ c }}", "{{ (a)  if b else  c }}", "{{ 1 - -2 }}",
    "{{ a -}}\n\n {% if b %}", "  {#- a #}\n\n{% if b %}", "{{ 'tab\there' }}",
]


def main(directory, chat, sources):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    os.makedirs(directory, exist_ok=True)
    make_tokenizer(directory)
    tokenizers = {name: AutoTokenizer.from_pretrained(f"{directory}/{name}") for name in ("spm-legacy", "spm-first")}
    tokenizers["../chat"] = PreTrainedTokenizerFast(tokenizer_file=f"{chat}/tokenizer.json", bos_token="<|begin_of_text|>",
                                                    eos_token="<|end_of_text|>")
    texts = automap(sources) | openvino(sources) | {"ours": OURS}
    with open(f"{directory}/cases.jsonl", "w", encoding="utf-8") as f:
        for case in [*template_cases(texts, tokenizers), *code_cases(sources, tokenizers)]:
            f.write(json.dumps(case, separators=(",", ":")) + "\n")
    with open(f"{directory}/forms.jsonl", "w", encoding="utf-8") as f:
        for text in FORMS:
            f.write(json.dumps({"text": text, "form": form(text)}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
