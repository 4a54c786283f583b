"""The tasks of bench/learning are what their texts say."""

import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "bench" / "learning"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# The grammar of Cleeremans et al. (1989) as a regular expression, within its frame.
LOWER = "(?:XT*VP)*(?:S|XT*VV)"
INNER = f"B(?:TS*X{LOWER}|PT*V(?:V|P{LOWER}))E"
EMBEDDED = re.compile(f"BT{INNER}TE|BP{INNER}PE")


def test_reber_strings_follow_the_grammar_and_know_what_may_follow(rng):
    import reber

    strings = [reber.string(rng) for _ in range(3000)]
    after = {}  # beginning -> the symbols that have come after it
    for symbols, follow in strings:
        assert EMBEDDED.fullmatch(symbols)
        assert len(follow) == len(symbols) - 1
        for k, may in enumerate(follow, 1):
            assert symbols[k] in may
            after.setdefault(symbols[:k], set()).add(symbols[k])
    for symbols, follow in strings:
        for k in range(1, 7):  # often enough for all that may follow to have come
            assert after[symbols[:k]] == follow[k - 1]
    outer = [symbols[1] for symbols, _ in strings]
    assert 0.45 < outer.count("T") / len(outer) < 0.55


def test_reber_errors_are_counted_by_the_most_active_symbols(rng):
    import reber

    may = reber.allowed([{"T", "P"}, {"B"}])
    outputs = np.where(may, 0.4, 0.1)
    assert reber.n_wrong(outputs, may) == 0
    outputs[0, reber.SYMBOLS.index("X")] = 0.4  # as high as those that may follow
    assert reber.n_wrong(outputs, may) == 1


def test_adding_marks_two_numbers_and_asks_for_their_sum(rng):
    import adding

    X, Y = adding.sequences(rng, 300, 100)
    assert {len(x) for x in X} == set(range(100, 111))
    for x, y in zip(X, Y, strict=True):
        first, second = np.flatnonzero(x[:, 1])
        assert first < 10 <= second < len(x) // 2
        assert y == pytest.approx(0.5 + (x[first, 0] + x[second, 0]) / 4)
        assert 0 <= y <= 1 and abs(x[:, 0]).max() <= 1


def test_temporal_order_is_balanced_and_its_class_is_the_order(rng):
    import temporal_order as task

    X, classes = task.sequences(rng, 2000)
    assert (abs(np.bincount(classes, minlength=4) - 500) < 100).all()
    for x, kind in zip(X, classes, strict=True):
        symbols = "".join(task.SYMBOLS[code] for code in x)
        assert 100 <= len(symbols) <= 110
        assert re.fullmatch("E[abcd]*[XY][abcd]*[XY][abcd]*B", symbols)
        places = [k for k, symbol in enumerate(symbols) if symbol in "XY"]
        assert 10 <= places[0] <= 20 and 50 <= places[1] <= 60
        assert ("XX", "XY", "YX", "YY")[kind] == "".join(symbols[k] for k in places)


def test_counting_says_what_may_follow():
    import counting

    x, may = counting.language(2)
    assert "".join(counting.SYMBOLS[code] for code in x) == "Saabbcc"
    follow = [
        "".join(s for s, is_allowed in zip("abcT", row, strict=True) if is_allowed) for row in may
    ]
    assert follow == ["a", "ab", "ab", "b", "c", "c", "T"]
    X, Y = counting.strings(1, 10)
    assert [len(x) for x in X] == [3 * n + 1 for n in range(1, 11)] == [len(y) for y in Y]


def test_the_bit_to_keep_is_the_first(rng):
    import one_bit

    X, Y = one_bit.sequences(rng, 50)
    assert X.shape == (50, 100, 1) and set(np.unique(X)) == {-1, 1}
    assert np.array_equal(X[:, 0, 0] > 0, Y == 1)


def test_a_stream_is_reber_strings_one_after_the_other(rng):
    import continual_reber as task

    x, may, begins = task.stream(rng, n_strings=20)
    symbols = "".join(task.reber.SYMBOLS[code] for code in x)
    strings = [symbols[a:b] for a, b in zip(*strings_of(begins), strict=True)]
    assert len(strings) == 20 and all(EMBEDDED.fullmatch(string) for string in strings)
    assert may[np.arange(len(x) - 1), x[1:]].all()
    at_the_end = may[np.flatnonzero(begins)[1:] - 1]
    assert (at_the_end == task.reber.allowed([{"B"}])).all()
    assert all(len(part) == 500 for part in task.stream(rng, n_symbols=500))


def strings_of(begins):
    starts = np.flatnonzero(begins)
    return starts, [*starts[1:], len(begins)]


def test_symbols_before_the_first_error(rng):
    import continual_reber as task

    _, may, _ = task.stream(rng, n_symbols=100)
    right, wrong = may.astype(float), may.astype(float)
    wrong[40, 3] = 0.51 if may[40, 3] else 0.49
    assert task.first_errors([right, wrong], [may, may]) == [100, 40]


def test_outer_symbols_are_found_and_a_stream_is_cut_into_strings(rng):
    import forget_gates as task

    x, may, begins = task.continual.stream(rng, n_symbols=3000)
    y = may.astype(float)
    right, n = task.outer_right(y, x, begins)
    assert right == n == begins.sum() - 1
    T, P = (task.reber.SYMBOLS.index(symbol) for symbol in "TP")
    y[:, [T, P]] = y[:, [P, T]]
    assert task.outer_right(y, x, begins)[0] == 0
    strings = task.cut(x, begins)
    assert len(strings) == begins.sum() and np.array_equal(np.concatenate(strings), x)


def test_spikes_are_as_far_apart_as_the_targets_say(rng):
    import peepholes as task

    for x, y, w in zip(*task.spike_trains(rng, 10, 20), strict=True):
        at = np.flatnonzero(x[:, 0])
        assert len(at) == 20 and at[0] == 0 and np.array_equal(np.flatnonzero(w), at[1:])
        assert np.array_equal(np.diff(at), 10 + y[at[1:], 0])
    assert np.array_equal(np.flatnonzero(task.spikes(20)[0][:, 0]), [5, 11, 17])
    wave = task.wave(40)[0]
    assert np.allclose(wave[10:], wave[:-10]) and wave.max() == 1


def test_every_task_has_what_the_commands_need():
    import all
    import runs

    for name in all.TASKS:
        module = import_module(name)
        assert module.DATA is None or module.DATA in runs.FILES
        jobs = list(runs.jobs_of(name, 1, "file", True, 0.0))
        assert [job.variant for job in jobs] == list(module.VARIANTS)
        assert module.TITLE and module.PROTOCOL and module.SEEDS > 0


def test_a_share_has_the_interval_of_wilson():
    import runs

    assert runs.share(0, 10) == "0 of 10 (0 to 28 %)"
    assert runs.share(5, 10) == "5 of 10 (24 to 76 %)"
    assert runs.spread([1.0, 2.0, 3.0], 2) == "2.00 ± 1.00"


def test_all_tasks_write_their_results_and_make_the_same_tables_again(
    monkeypatch, tmp_path, capsys
):
    import all

    command = ["all.py", str(tmp_path), "--tasks", "reber", "--seeds", "1", "--quick"]
    monkeypatch.setattr(sys, "argv", command)
    assert all.main() == 0
    table = (tmp_path / "reber.md").read_text(encoding="utf-8")
    assert "1 of 1" in table and table in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["all.py", str(tmp_path), "--again"])
    assert all.main() == 0
    assert table in capsys.readouterr().out


def test_tables_are_put_in_their_places():
    import all
    import runs

    collected = runs.Collected()
    run = {"solved": True, "presentations": 256, "seconds": 0.1}
    collected.add("reber", "LSTM(7, 32), adam", 0, run)
    text = "a\n<!-- reber -->\nold\n<!-- end -->\nb\n<!-- adding -->\nc\n<!-- end -->\n"
    assert all.filled(text, collected) == text.replace("old\n", collected.table("reber"))


def test_runs_without_time_are_named_and_in_no_table(monkeypatch, tmp_path, capsys):
    import all

    command = ["all.py", str(tmp_path), "--tasks", "reber", "--seeds", "1", "--seconds", "0.1"]
    monkeypatch.setattr(sys, "argv", command)
    assert all.main() == 1
    assert "not in the tables" in capsys.readouterr().err
    assert not (tmp_path / "reber.md").exists()
