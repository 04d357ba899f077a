"""Classic bugs of a service and its API, put back on purpose: each must break its law."""

from __future__ import annotations

import codecs

import openai_checks
import pytest
import service_checks


def caught(says, check, *arguments, **options):
    """The law fails, and for the reason that was put back, which its message names."""
    with pytest.raises(AssertionError, match=says):
        check(*arguments, **options)


# ---- the service


def test_one_random_generator_for_all_is_caught(monkeypatch, tmp_path):
    import torch

    shared = torch.Generator()
    monkeypatch.setattr(
        "gpt_model.engine.make_generators",
        lambda seed, rows: [shared.manual_seed((seed or 0) % 2**63)] * rows,
    )
    caught("alone the model writes", service_checks.check_streamed_equals_generated, tmp_path)


def test_computing_on_the_event_loop_is_caught(monkeypatch, tmp_path):
    from chat_ui.engine_thread import EngineThread

    def submit(self, request, listener):
        number = self.engine.submit(request)
        self._listeners[number] = (listener, request.n)
        while self.engine.busy:
            for event in self.engine.step():
                if self._listener_of(event) is not None:
                    self._tell(listener, event)
        return number

    monkeypatch.setattr(EngineThread, "submit", submit)
    caught("ran on the event loop", service_checks.check_the_loop_is_free, tmp_path, patience=0.3)


def test_an_engine_that_is_not_told_to_stop_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("chat_ui.engine_thread.EngineThread.cancel", lambda *_: None)
    caught("more tokens were computed", service_checks.check_leaving_stops, tmp_path)


def test_leaving_without_a_word_is_caught(monkeypatch, tmp_path):
    async def leave(self, *error):
        self.service._give_back(self.request.n)

    monkeypatch.setattr("chat_ui.service.Answer.__aexit__", leave)
    caught("more tokens were computed", service_checks.check_leaving_stops, tmp_path)


class Hasty:
    """Looks for a stop string in each token alone, and shows what it has at once."""

    def __init__(self, tokenizer, stop=()):
        self.tokenizer, self.stop, self.stopped, self.held = tokenizer, stop, False, 0
        self.text = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token):
        text = self.text.decode(self.tokenizer.token_bytes(token))
        self.stopped = any(stop in text for stop in self.stop)
        return "" if self.stopped else text

    def flush(self):
        return ""


def test_a_stop_string_looked_for_token_by_token_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("chat_ui.pieces.StreamingDecoder", Hasty)
    caught("the answer ends before", service_checks.check_stop_strings, tmp_path)
    caught("stop .* shown", openai_checks.check_completions, tmp_path)


def test_a_stop_string_that_ends_all_samples_is_caught(monkeypatch, tmp_path):
    from chat_ui.engine_thread import EngineThread

    real = EngineThread.cancel
    monkeypatch.setattr(
        EngineThread, "cancel", lambda self, number, who, sample=None: real(self, number, who)
    )
    caught("reached another sample", service_checks.check_stop_strings, tmp_path)


def test_a_stop_string_that_only_hides_the_rest_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("chat_ui.engine_thread.EngineThread.cancel", lambda *_: None)
    caught("did not stop the engine", service_checks.check_stop_strings, tmp_path)


def test_caches_of_cancelled_answers_that_are_kept_are_caught(monkeypatch, tmp_path):
    from gpt_model.engine import Engine
    from gpt_model.prefix_cache import PrefixCache

    real = Engine._let_go
    monkeypatch.setattr(Engine, "_let_go", lambda self, batch, keep: real(self, batch, keep=True))

    def keep(self, ids, cache, row):
        self.kept.append((list(ids), cache))

    monkeypatch.setattr(PrefixCache, "keep", keep)
    caught("after 10 left", service_checks.check_cancelled_answers_leave_nothing, tmp_path, answers=10)


def test_places_that_are_not_given_back_are_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("chat_ui.service.Service._give_back", lambda *_: None)
    caught("after 10 left", service_checks.check_cancelled_answers_leave_nothing, tmp_path, answers=10)


def test_keys_of_another_text_used_again_are_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("gpt_model.prefix_cache.common", lambda one, other: min(len(one), len(other)))
    caught("keys of other tokens", service_checks.check_warm_is_cold, tmp_path)


def test_a_cache_that_is_never_used_again_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("gpt_model.prefix_cache.PrefixCache.begin", lambda *_: None)
    caught("nothing was used again", service_checks.check_warm_is_cold, tmp_path)


# ---- the API


def test_log_probabilities_after_temperature_are_caught(monkeypatch, tmp_path):
    from gpt_model.request import log_probabilities

    monkeypatch.setattr(
        "gpt_model.engine.log_probabilities",
        lambda logits, token, n: log_probabilities(logits / 0.5, token, n),
    )
    caught("own distribution", openai_checks.check_logprobs, tmp_path)


def test_answers_with_one_seed_are_caught(monkeypatch, tmp_path):
    from gpt_model import sampling

    real = sampling.make_generators
    monkeypatch.setattr(
        "gpt_model.engine.make_generators", lambda seed, rows: [real(seed, 1)[0] for _ in range(rows)]
    )
    caught("the model writes", openai_checks.check_chat, tmp_path)


def test_a_stream_without_its_last_word_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("chat_ui.openai_answers.DONE", "")
    caught("waits for ever", openai_checks.check_stream_ends_as_openais, tmp_path)


def test_a_stream_that_nobody_leaves_is_caught(monkeypatch, tmp_path):
    from fastapi.responses import StreamingResponse

    monkeypatch.setattr("chat_ui.openai_api._Stream.__call__", StreamingResponse.__call__)
    caught("went away", openai_checks.check_going_away_stops, tmp_path, stream=True)


def test_a_whole_answer_for_nobody_is_caught(monkeypatch, tmp_path):
    async def deaf(request, work):
        return await work

    monkeypatch.setattr("chat_ui.openai_api.until_gone", deaf)
    caught("went away", openai_checks.check_going_away_stops, tmp_path, stream=False)


def test_a_field_that_is_ignored_in_silence_is_caught(monkeypatch, tmp_path):
    from chat_ui import openai_schema

    monkeypatch.setitem(openai_schema.NEUTRAL, "tools", (...,))
    caught("tools: answered 200", openai_checks.check_bad_requests, tmp_path)


def test_rules_that_first_meet_the_engine_are_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("chat_ui.service.check_rules", lambda *_: None)
    caught("unknown id in logit_bias: answered 500", openai_checks.check_bad_requests, tmp_path)


def test_bad_input_as_a_failure_of_the_server_is_caught(monkeypatch, tmp_path):
    from chat_ui import server

    real = server.describe
    monkeypatch.setattr(server, "describe", lambda error: (500, *real(error)[1:]))
    caught("answered 500", openai_checks.check_bad_requests, tmp_path)


def test_a_queue_without_an_end_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "chat_ui.service.Service._take_places",
        lambda self, samples: setattr(self, "_samples", self._samples + samples),
    )
    caught("the fourth of three", openai_checks.check_busy_is_429, tmp_path)


def test_padding_in_the_mean_is_caught(monkeypatch, tmp_path):
    import torch

    from chat_ui import embeddings

    def careless(model, texts):
        longest = max(map(len, texts))
        return torch.stack([embeddings_of(model, [[*ids, *[0] * (longest - len(ids))]])[0] for ids in texts])

    embeddings_of = embeddings.mean_hidden_states
    monkeypatch.setattr("chat_ui.openai_api.mean_hidden_states", careless)
    caught("is padding in the mean", openai_checks.check_embeddings, tmp_path)


def test_a_document_that_does_not_begin_is_caught(monkeypatch, tmp_path):
    from chat_ui.openai_prompts import Prompt

    def text_prompt(given, loaded):
        return Prompt(list(given) if isinstance(given, list) else loaded.tokenizer.encode_ordinary(given))

    monkeypatch.setattr("chat_ui.openai_api.text_prompt", text_prompt)
    caught("a text begins a document", openai_checks.check_completions, tmp_path)


def test_a_name_that_is_joined_to_a_path_is_caught(monkeypatch, tmp_path):
    monkeypatch.setattr("chat_ui.model_ids.ModelIds.ref_of", lambda self, id: f"{id}")
    caught("was served", openai_checks.check_models, tmp_path)
