"""Metrics of models: what is on the page, what each kind can do, and what stays when somebody leaves."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from serving.client import Client
from serving.metrics import page
from serving.repository import config
from serving.scripted import SCRIPTED, SCRIPTED_CONFIG, do
from serving.server import TritonServer
from serving.types import Load
from serving.waiting import wait_until

KINDS = ("COUNTER", "GAUGE", "HISTOGRAM")


@pytest.fixture(scope="module")
def server_options() -> dict[str, Any]:
    return {"metrics": True}


@pytest.fixture
def name(model_name: str) -> str:
    """Of a metric family that no other test has."""
    return f"of_{model_name}".lower()


def lines(server: TritonServer, name: str) -> list[str]:
    """What the page says of a family, with its description and kind."""
    return [line for line in page(server).splitlines() if name in line]


def values(server: TritonServer, name: str) -> list[str]:
    return sorted(line for line in lines(server, name) if not line.startswith("#"))


def make(name: str, kind: str, labels: str = '{"a": "b"}') -> str:
    """The part of a script that makes `family` and `metric`."""
    buckets = ", buckets=[1.0]" if kind == "HISTOGRAM" else ""
    return (
        f'family = pb_utils.MetricFamily("{name}", "what it is", pb_utils.MetricFamily.{kind})\n'
        f"metric = family.Metric({labels}{buckets})\n"
    )


def failed(model: str, text: str) -> list[str]:
    """What a model sees; `<server>` stands before what the server says."""
    server = f"Failed to process the request for model '{model}_0', message:"
    return ["TritonModelException", text.replace("<server>", server)]


# --- what they are ---


def test_the_kinds_have_numbers(load: Load, http: Client) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = """
        import c_python_backend_utils as native
        family = pb_utils.MetricFamily
        kinds = [family.COUNTER, family.GAUGE, family.HISTOGRAM]
        answer = [[int(one) for one in kinds], {type(one) for one in kinds} == {native.MetricKind}]
    """
    assert do(http, model, script) == [[0, 1, 2], True]


def test_a_metric_is_made_by_its_family(load: Load, http: Client, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = make(name, "GAUGE") + "answer = [type(metric).__name__, type(metric).__module__]\n"
    script += "answer += failure(type(metric))"
    assert do(http, model, script) == [
        "Metric",
        "c_python_backend_utils",
        "TypeError",
        "c_python_backend_utils.Metric: No constructor defined!",
    ]


# --- what the page shows ---


def test_a_counter_is_on_the_page_when_its_batch_is_answered(
    load: Load, http: Client, server: TritonServer, name: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "COUNTER") + "metric.increment(2); metric.increment(0.5)")
    assert lines(server, name) == [
        f"# HELP {name} what it is",
        f"# TYPE {name} counter",
        f'{name}{{a="b"}} 2.5',
    ]


def test_a_gauge_goes_up_and_down(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "GAUGE") + "metric.set(10); metric.increment(-12.5); metric.increment(1)")
    assert f"# TYPE {name} gauge" in lines(server, name)
    assert values(server, name) == [f'{name}{{a="b"}} -1.5']


def test_a_histogram_counts_in_its_buckets(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(
        http,
        model,
        f"""
        family = pb_utils.MetricFamily("{name}", "what it is", pb_utils.MetricFamily.HISTOGRAM)
        metric = family.Metric(labels={{"a": "b"}}, buckets=[0.1, 1.0, 2.5])
        for value in (0.05, 1.0, 2, 100):
            metric.observe(value)
        """,
    )
    assert values(server, name) == [
        f'{name}_bucket{{a="b",le="+Inf"}} 4',
        f'{name}_bucket{{a="b",le="0.1"}} 1',
        f'{name}_bucket{{a="b",le="1"}} 2',
        f'{name}_bucket{{a="b",le="2.5"}} 3',
        f'{name}_count{{a="b"}} 4',
        f'{name}_sum{{a="b"}} 103.05',
    ]


def test_a_metric_needs_no_labels(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "COUNTER", labels="") + "metric.increment(1)")
    assert values(server, name) == [f"{name} 1"]


def test_the_value_is_what_was_counted(load: Load, http: Client, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = make(name, "GAUGE") + "metric.set(-3.5); answer = [metric.value()]; metric.increment(1e300)\n"
    assert do(http, model, script + "answer.append(metric.value())") == [-3.5, 1e300]


def test_no_update_is_lost_when_there_are_many(
    load: Load, http: Client, server: TritonServer, name: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "COUNTER") + "for _ in range(50_000): metric.increment(1)")
    assert values(server, name) == [f'{name}{{a="b"}} 50000']


def test_threads_may_count(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = make(name, "COUNTER") + (
        "import threading\n"
        "def count():\n"
        "    own = family.Metric({'a': 'b'})\n"
        "    for _ in range(1000): own.increment(1)\n"
        "    assert own.value() >= 1000\n"
        "threads = [threading.Thread(target=count) for _ in range(8)]\n"
        "for one in threads: one.start()\n"
        "for one in threads: one.join()\n"
        "answer = metric.value()"
    )
    assert do(http, model, script) == 8000


def test_initialize_and_finalize_may_count(load: Load, http: Client, server: TritonServer, name: str) -> None:
    code = f'''
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.family = pb_utils.MetricFamily("{name}", "text", pb_utils.MetricFamily.COUNTER)
        self.metric = self.family.Metric({{"a": "b"}})
        self.metric.increment(1)

    def execute(self, requests):
        return []

    def finalize(self):
        self.metric.increment(2)
        other = self.family.Metric({{"c": "d"}})
        other.increment(4)
        print("counted", self.metric.value() + other.value(), flush=True)
'''
    model = load(code, config({"IN": ("INT32", [1])}, {"OUT": ("INT32", [1])}))
    wait_until("the count of initialize", lambda: values(server, name) == [f'{name}{{a="b"}} 1'])
    http.unload(model)
    wait_until("the count of finalize", lambda: "counted 7.0" in server.log())


# --- what is refused ---

# There, what the server refuses may end it.
REFUSED = pytest.mark.differs("refused-control", run=False)


@REFUSED
@pytest.mark.parametrize(
    ("kind", "call", "text"),
    [
        (
            "COUNTER",
            "set",
            "set metric value: <server> TRITONSERVER_METRIC_KIND_COUNTER does not support Set",
        ),
        (
            "COUNTER",
            "observe",
            "observe metric value: <server> TRITONSERVER_METRIC_KIND_COUNTER does not support Observe",
        ),
        (
            "GAUGE",
            "observe",
            "observe metric value: <server> TRITONSERVER_METRIC_KIND_GAUGE does not support Observe",
        ),
        (
            "HISTOGRAM",
            "increment",
            "increment metric value: <server> TRITONSERVER_METRIC_KIND_HISTOGRAM does not support Increment",
        ),
        (
            "HISTOGRAM",
            "set",
            "set metric value: <server> TRITONSERVER_METRIC_KIND_HISTOGRAM does not support Set",
        ),
        (
            "HISTOGRAM",
            "value",
            "get metric value: <server> TRITONSERVER_METRIC_KIND_HISTOGRAM does not support Value",
        ),
    ],
)
def test_a_metric_does_what_its_kind_can(
    load: Load, http: Client, name: str, kind: str, call: str, text: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    arguments = "" if call == "value" else ", 1"
    script = make(name, kind) + f"answer = failure(metric.{call}{arguments})"
    assert do(http, model, script) == failed(model, "Failed to " + text)


@REFUSED
def test_a_counter_never_falls(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = make(name, "COUNTER") + "metric.increment(3); answer = failure(metric.increment, -1)"
    assert do(http, model, script) == failed(
        model,
        "Failed to increment metric value: <server> TRITONSERVER_METRIC_KIND_COUNTER can only be "
        "incremented monotonically by non-negative values.",
    )
    assert values(server, name) == [f'{name}{{a="b"}} 3']


@pytest.mark.parametrize(
    ("kind", "arguments", "text"),
    [
        ("COUNTER", "labels=[]", "Failed to create metric. Labels must be a dictionary."),
        ("HISTOGRAM", "buckets={}", "Failed to create metric. Buckets must be a list."),
        ("COUNTER", "buckets=[1.0]", "Failed to create metric. Unexpected buckets found."),
        ("GAUGE", "buckets=[]", "Failed to create metric. Unexpected buckets found."),
        ("HISTOGRAM", "labels={}", "Failed to create metric. Missing required buckets."),
        pytest.param(
            "COUNTER",
            'labels={"a": 1}',
            "Error when creating Metric: <server> attempt to access JSON non-string as string",
            marks=REFUSED,
        ),
    ],
)
def test_what_a_metric_is_made_of_is_checked(
    load: Load, http: Client, name: str, kind: str, arguments: str, text: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = make(name, kind) + f"answer = failure(family.Metric, {arguments})"
    assert do(http, model, script) == failed(model, text)


@REFUSED
@pytest.mark.parametrize("buckets", ["[2.0, 1.0]", "[1.0, 1.0]"])
def test_buckets_have_to_rise(load: Load, http: Client, name: str, buckets: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = make(name, "HISTOGRAM") + f'answer = failure(family.Metric, {{"a": "c"}}, {buckets})'
    kind, text = do(http, model, script)
    assert kind == "TritonModelException"
    assert text.startswith(
        f"Error when creating Metric: Failed to process the request for model '{model}_0', message: "
    )


def test_there_may_be_no_buckets(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "HISTOGRAM") + 'other = family.Metric({"c": "d"}, []); other.observe(1)')
    assert f'{name}_bucket{{c="d",le="+Inf"}} 1' in values(server, name)


@REFUSED
def test_a_family_has_one_kind(load: Load, http: Client, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = make(name, "COUNTER") + (
        f'answer = failure(pb_utils.MetricFamily, "{name}", "text", pb_utils.MetricFamily.GAUGE)'
    )
    assert do(http, model, script) == failed(
        model,
        "Error when creating MetricFamily: <server> Family name already exists with different type",
    )


@pytest.mark.ours
@pytest.mark.parametrize("own", ["nv_inference_count", "triton_python_shm_pool_bytes"])
def test_the_servers_own_names_are_refused(load: Load, http: Client, own: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    kind, text = do(
        http, model, f'answer = failure(pb_utils.MetricFamily, "{own}", "", pb_utils.MetricFamily.COUNTER)'
    )
    assert kind == "TritonModelException"
    assert f"'{own}' has to be called something else" in text


@pytest.mark.parametrize("arguments", ['None, "", kind', '"a", None, kind', '"a", "", None', '"a", "", 0'])
def test_a_family_needs_all_its_arguments(load: Load, http: Client, arguments: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = f"kind = pb_utils.MetricFamily.GAUGE\nanswer = failure(pb_utils.MetricFamily, {arguments})"
    assert do(http, model, script)[0] == "TypeError"


def test_arguments_have_names_and_may_be_bytes(
    load: Load, http: Client, server: TritonServer, name: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(
        http,
        model,
        f"""
        family = pb_utils.MetricFamily(kind=pb_utils.MetricFamily.GAUGE, description=b"text", name=b"{name}")
        metric = family.Metric(labels={{"c": "d"}}, buckets=None)
        metric.set(1)
        """,
    )
    assert lines(server, name)[0] == f"# HELP {name} text"
    assert values(server, name) == [f'{name}{{c="d"}} 1']


@pytest.mark.differs("bytes-labels")
def test_labels_may_be_bytes(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "GAUGE", '{b"a": b"b", "c": "d"}') + "metric.set(1)")
    assert values(server, name) == [f'{name}{{a="b",c="d"}} 1']


# --- what is shared ---


def test_the_first_description_stays(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    other = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "COUNTER"))
    do(
        http,
        other,
        f'family = pb_utils.MetricFamily("{name}", "another", pb_utils.MetricFamily.COUNTER)\n'
        'metric = family.Metric({"of": "the other"})',
    )
    assert lines(server, name)[:2] == [f"# HELP {name} what it is", f"# TYPE {name} counter"]
    assert len(values(server, name)) == 2


def test_the_same_labels_are_the_same_metric(load: Load, http: Client, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    other = load(SCRIPTED, SCRIPTED_CONFIG)
    labels = '{"a": "b", "c": "d"}'
    do(http, model, make(name, "COUNTER", labels) + "metric.increment(1)")
    do(http, other, make(name, "COUNTER", '{"c": "d", "a": "b"}') + "metric.increment(2)")
    script = f"again = family.Metric({labels}); again.increment(4); answer = [metric.value(), again.value()]"
    assert do(http, model, script) == [7, 7]


def test_a_metric_outlives_one_of_its_users(
    load: Load, http: Client, server: TritonServer, name: str
) -> None:
    stays = load(SCRIPTED, SCRIPTED_CONFIG)
    leaves = load(SCRIPTED, SCRIPTED_CONFIG)
    for model in (stays, leaves):
        do(http, model, make(name, "COUNTER") + "metric.increment(1)")
    http.unload(leaves)
    wait_until("the end of the other", lambda: len(server.stubs()) == 1)
    assert do(http, stays, "metric.increment(1); answer = metric.value()") == 3
    assert values(server, name) == [f'{name}{{a="b"}} 3']


@pytest.mark.differs("metrics-stay")
def test_the_metrics_of_a_model_leave_with_it(
    load: Load, http: Client, server: TritonServer, name: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "COUNTER") + "metric.increment(1)")
    http.unload(model)
    wait_until("the metric to go", lambda: values(server, name) == [])


@pytest.mark.differs("metrics-stay")
def test_the_metrics_of_a_stub_that_dies_go_and_shared_ones_stay(
    load: Load, http: Client, server: TritonServer, name: str
) -> None:
    stays = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, stays, make(name, "GAUGE") + "metric.set(5)")
    (kept,) = server.stubs()
    dies = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, dies, make(name, "GAUGE") + 'own = family.Metric({"of": "mine"}); own.set(1)')
    assert len(values(server, name)) == 2
    (victim,) = (one for one in server.stubs() if one.pid != kept.pid)
    os.kill(victim.pid, signal.SIGKILL)
    wait_until("its metric to go", lambda: len(values(server, name)) == 1)
    assert do(http, stays, "metric.increment(1); answer = metric.value()") == 6
    assert values(server, name) == [f'{name}{{a="b"}} 6']


# --- what ends ---


@pytest.mark.differs("metrics-stay")
def test_a_metric_without_objects_leaves_the_page(
    load: Load, http: Client, server: TritonServer, name: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "GAUGE") + 'other = family.Metric({"c": "d"})')
    assert len(values(server, name)) == 2
    do(http, model, "del metric")
    assert values(server, name) == [f'{name}{{c="d"}} 0']


DELETED = (
    "Invalid metric operation as the corresponding 'MetricFamily' has been deleted. The 'MetricFamily' "
    "object should be deleted AFTER its corresponding 'Metric' objects have been deleted."
)


@pytest.mark.parametrize(
    ("kind", "call", "doing"),
    [
        ("COUNTER", "metric.increment, 1", "increment"),
        ("GAUGE", "metric.set, 1", "set"),
        ("HISTOGRAM", "metric.observe, 1", "observe"),
        ("GAUGE", "metric.value", "get"),
    ],
)
def test_a_metric_is_no_use_without_its_family(
    load: Load, http: Client, server: TritonServer, name: str, kind: str, call: str, doing: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, kind))
    script = f"del family; answer = failure({call})"
    assert do(http, model, script) == failed(model, f"Failed to {doing} metric value: {DELETED}")
    assert values(server, name) == []


def test_a_family_can_be_made_again(load: Load, http: Client, server: TritonServer, name: str) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    do(http, model, make(name, "COUNTER") + "metric.increment(5); del family, metric")
    do(http, model, make(name, "COUNTER") + "metric.increment(1)")
    assert values(server, name) == [f'{name}{{a="b"}} 1']


# --- other processes ---


@pytest.mark.ours
def test_a_forked_child_makes_metrics_of_its_own(
    load: Load, http: Client, server: TritonServer, name: str
) -> None:
    model = load(SCRIPTED, SCRIPTED_CONFIG)
    script = make(name, "COUNTER") + (
        "import multiprocessing\n"
        "def child(pipe):\n"
        "    pipe.send(failure(metric.increment, 1))\n"
        f'    own = pb_utils.MetricFamily("{name}", "text", pb_utils.MetricFamily.COUNTER)\n'
        "    again = own.Metric({'a': 'b'})\n"
        "    again.increment(3)\n"
        "    pipe.send(again.value())\n"
        "context = multiprocessing.get_context('fork')\n"
        "ours, theirs = context.Pipe()\n"
        "process = context.Process(target=child, args=(theirs,))\n"
        "process.start()\n"
        "answer = [ours.recv(), ours.recv()]\n"
        "process.join()\n"
        "metric.increment(1); answer.append(metric.value())"
    )
    (kind, text), inside, after = do(http, model, script)
    assert kind == "TritonModelException"
    assert text.startswith("Failed to increment metric value: this metric was made in another process.")
    assert (inside, after) == (3, 4)
    assert values(server, name) == [f'{name}{{a="b"}} 4']
