"""Translation: everyday English sentences into German, by an encoder and a decoder that remembers what it wrote."""

from demo_apps.translation._bleu import bleu, bleu_counts, bleu_interval, bleu_signature, chrf, paired_difference
from demo_apps.translation._decode import beam_search, greedy, padded
from demo_apps.translation._demo import TEACHER_RECIPE, demo
from demo_apps.translation._layers import Embed, FeedForward, SelfAttention, earlier, earlier_of, places_of
from demo_apps.translation._pairs import Corpus, Pair, Sentence, Splits, load_pairs, split_pairs
from demo_apps.translation._predictor import predictor
from demo_apps.translation._task import TranslationTask, english_german
from demo_apps.translation._transfer import transfer
from demo_apps.translation._translator import Translator, translator
from demo_apps.translation._try_out import try_out
from demo_apps.translation._vocabulary import BEGIN, END, PAD, UNKNOWN, Vocabulary

__all__ = [
    "BEGIN",
    "END",
    "PAD",
    "TEACHER_RECIPE",
    "UNKNOWN",
    "Corpus",
    "Embed",
    "FeedForward",
    "Pair",
    "SelfAttention",
    "Sentence",
    "Splits",
    "TranslationTask",
    "Translator",
    "Vocabulary",
    "beam_search",
    "bleu",
    "bleu_counts",
    "bleu_interval",
    "bleu_signature",
    "chrf",
    "demo",
    "earlier",
    "earlier_of",
    "english_german",
    "greedy",
    "load_pairs",
    "padded",
    "paired_difference",
    "places_of",
    "predictor",
    "split_pairs",
    "transfer",
    "translator",
    "try_out",
]
