"""Spoken sentences: letters, numbers and commands, recognised from a stream by a network of convolutions."""

from demo_apps.speech.sentences._augment import Augmentation
from demo_apps.speech.sentences._data import load_corpus
from demo_apps.speech.sentences._decode import DictionaryBeam, greedy
from demo_apps.speech.sentences._features import log_mel
from demo_apps.speech.sentences._language import Bigram
from demo_apps.speech.sentences._listen import Listener
from demo_apps.speech.sentences._net import SentencesNet, sentences_net
from demo_apps.speech.sentences._score import character_error_rate, word_error_rate, word_errors
from demo_apps.speech.sentences._task import SentencesTask, sentences
from demo_apps.speech.sentences._tokens import Tokens
from demo_apps.speech.sentences._try import TRY_OUT, answer
from demo_apps.speech.sentences._utterance import Corpus, Utterance

__all__ = [
    "TRY_OUT",
    "Augmentation",
    "Bigram",
    "Corpus",
    "DictionaryBeam",
    "Listener",
    "SentencesNet",
    "SentencesTask",
    "Tokens",
    "Utterance",
    "answer",
    "character_error_rate",
    "greedy",
    "load_corpus",
    "log_mel",
    "sentences",
    "sentences_net",
    "word_error_rate",
    "word_errors",
]
