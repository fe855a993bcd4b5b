"""Everything a client may get wrong or forge, each with the code it is refused with."""

import json
import zlib
from dataclasses import replace
from functools import partial

import numpy as np
from safetensors.numpy import load, save

from fedkd.exchange.blob import _DICTIONARY, Header, write_blob
from fedkd.exchange.codec import encode, largest, pack_forms
from fedkd.exchange.coding import PLAIN
from fedkd.exchange.factors import Factors
from fedkd.exchange.forms import Dense
from fedkd.protocol.federation import header_of
from tests.forged import drawn

BAD = {}


def bad(reason, *values):
    """Register a function of (experiment, offer, fields, value) that returns the fields that are not as they were."""

    def register(forge):
        for value in values or ("",):
            BAD[f"{forge.__name__} {value}".strip()] = (partial(forge, value=value), reason)
        return forge

    return register


def header(experiment, offer):
    return header_of(offer.round, offer.base, experiment)


def packed(experiment, offer, forms, coding=PLAIN):
    return {"blob": pack_forms(forms, header(experiment, offer), coding)}


def matrices(experiment):
    return [Dense(t.reshape(s.matrix)) for t, s in zip(drawn(experiment, 0), experiment.spec, strict=True)]


@bad("not_finite", "nan", "inf", "-inf")
def not_finite(experiment, offer, fields, value):
    forms = matrices(experiment)
    forms[0].matrix[1, 2] = float(value)
    return packed(experiment, offer, forms)


@bad("not_finite")
def product_that_overflows(experiment, offer, fields, value):
    p, q = experiment.spec[0].matrix
    factors = Factors(np.full((p, 1), 1e30, np.float32), np.full((1, q), 1e30, np.float32))
    return packed(experiment, offer, [factors, *matrices(experiment)[1:]])


@bad("values")
def another_shape(experiment, offer, fields, value):
    return packed(experiment, offer, [Dense(matrices(experiment)[0].matrix[1:]), *matrices(experiment)[1:]])


@bad("forms")
def tensor_missing(experiment, offer, fields, value):
    return packed(experiment, offer, matrices(experiment)[:-1])


@bad("forms")
def tensor_too_many(experiment, offer, fields, value):
    return packed(experiment, offer, [*matrices(experiment), Dense(np.zeros((1, 1), np.float32))])


@bad("rank")
def rank_above_the_full_one(experiment, offer, fields, value):
    p, q = experiment.spec[0].matrix
    k = min(p, q) + 1
    factors = Factors(np.zeros((p, k), np.float32), np.zeros((k, q), np.float32))
    return packed(experiment, offer, [factors, *matrices(experiment)[1:]], replace(PLAIN, bits=2))


@bad("rank")
def rank_that_costs_more_than_all_entries(experiment, offer, fields, value):
    p, q = experiment.spec[0].matrix
    k = min(p, q)
    factors = Factors(np.zeros((p, k), np.float32), np.zeros((k, q), np.float32))
    return packed(experiment, offer, [factors, *matrices(experiment)[1:]], replace(PLAIN, bits=2))


@bad("values")
def inner_dimensions_that_differ(experiment, offer, fields, value):
    p, q = experiment.spec[0].matrix
    uneven = Factors(np.zeros((p, 1), np.float32), np.zeros((2, q), np.float32))
    return packed(experiment, offer, [uneven, *matrices(experiment)[1:]])


@bad("format", "float64", "int32", "two_dimensional")
def another_dtype(experiment, offer, fields, value):
    blob = packed(experiment, offer, matrices(experiment))["blob"]
    tensors = load(blob)
    values = tensors["values"]
    # Half as many numbers where they take twice the room, so that it isn't the size that gives it away.
    tensors["values"] = {"float64": values[: len(values) // 2].astype("<f8"), "int32": values.astype("<i4"),
                         "two_dimensional": values[None]}[value]  # fmt: skip
    return {"blob": save(tensors, metadata(blob))}


@bad("format")
def another_name(experiment, offer, fields, value):
    blob = packed(experiment, offer, matrices(experiment))["blob"]
    tensors = load(blob)
    return {"blob": save({"forms": tensors["forms"], "weights": tensors["values"]}, metadata(blob))}


def metadata(blob):
    length = int.from_bytes(blob[:8], "little")
    return json.loads(blob[8 : 8 + length])["__metadata__"]


@bad("weight", 0, -1, float("nan"), float("inf"), 1.5, 10**9, 2**63 - 1, True, "many")
def weight(experiment, offer, fields, value):
    return {"examples": value}


@bad("norm", "ten times the bound", "all that float32 holds")
def norm(experiment, offer, fields, value):
    update = drawn(experiment, 0)
    if value.startswith("ten"):
        length = np.sqrt(sum(np.sum(t.astype(float) ** 2) for t in update))
        update = [t * np.float32(10 * experiment.config.guard.norm / length) for t in update]
    else:
        update = [np.full(t.shape, 3e38, np.float32) for t in update]
    return {"blob": encode(update, experiment.spec, header(experiment, offer), PLAIN)}


@bad("size")
def larger_than_any_update(experiment, offer, fields, value):
    return {"blob": bytes(largest(experiment.spec) + 1)}


@bad("size")
def bomb(experiment, offer, fields, value):
    """A thousandth of what it inflates to, 100 times the cap."""
    deflater, chunk = zlib.compressobj(9, zdict=_DICTIONARY), bytes(largest(experiment.spec))
    return {"blob": b"Z" + b"".join(deflater.compress(chunk) for _ in range(100)) + deflater.flush()}


@bad("values")
def few_bits_that_are_many_numbers(experiment, offer, fields, value):
    entries = {
        "forms": np.zeros(len(experiment.spec), "<i4"),
        "values": np.zeros(largest(experiment.spec) // 2, np.uint8),
        "steps": np.zeros(len(experiment.spec), "<u2"),
    }
    return {"blob": write_blob(entries, header(experiment, offer), 2, deflate=True)}


@bad("header", 1025, 2**32, 2**63, 2**64 - 1)
def declared_header(experiment, offer, fields, value):
    return {"blob": value.to_bytes(8, "little") + fields["blob"][8:]}


@bad("format")
def truncated(experiment, offer, fields, value):
    return {"blob": fields["blob"][:-1]}


@bad("header")
def cut_in_its_header(experiment, offer, fields, value):
    return {"blob": fields["blob"][:40]}


@bad("format")
def trailing_byte(experiment, offer, fields, value):
    return {"blob": fields["blob"] + b"\0"}


@bad("deflate")
def truncated_deflated(experiment, offer, fields, value):
    blob = encode(drawn(experiment, 0), experiment.spec, header(experiment, offer), replace(PLAIN, deflate=True))
    return {"blob": blob[:-1]}


@bad("deflate")
def trailing_byte_deflated(experiment, offer, fields, value):
    blob = encode(drawn(experiment, 0), experiment.spec, header(experiment, offer), replace(PLAIN, deflate=True))
    return {"blob": blob + b"\0"}


@bad("replay", "older", "newer")
def replay(experiment, offer, fields, value):
    other = Header(offer.round + (1 if value == "newer" else -1), offer.base[:16], experiment.config.method)
    return {"blob": encode(drawn(experiment, 0), experiment.spec, other)}


@bad("base")
def another_base(experiment, offer, fields, value):
    return {"blob": encode(drawn(experiment, 0), experiment.spec, Header(offer.round, "0" * 16, "fedkd"))}


@bad("method")
def another_method(experiment, offer, fields, value):
    return {"blob": encode(drawn(experiment, 0), experiment.spec, Header(offer.round, offer.base[:16], "fedavg"))}
