"""Small tokenizers of Hugging Face, as the contents of their files."""

import functools

TEXT = "The cat sat on the mat. Où? 中文 \U0001f600\n\n  The cat's hat, the hat…"


@functools.cache
def by_bytes() -> str:
    """Byte-level byte-pair encoding, as GPT-2 has it: it lacks nothing."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    return made.to_str()


@functools.cache
def by_pieces() -> str:
    """Words that begin with a mark in the place of the space, as SentencePiece does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=80, special_tokens=["<unk>"], show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    return made.to_str()


@functools.cache
def by_words() -> str:
    """Whole words of a closed list; white space is forgotten."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[UNK]", "the", "cat", "sat", ","]
    made = Tokenizer(
        models.WordLevel({w: k for k, w in enumerate(words)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made.to_str()
