"""What ``edge.json`` must look like."""

from fedkd.results.shape import Check, amount, count, every, flag, having, named, number, optional, share, text

_ARENA = having(total=amount, head=optional(amount), tail=optional(amount))
_LAYER = having(
    name=text, kind=text, shape=every(optional(amount)), parameters=amount, macs=amount, snr_db=optional(number)
)


def search_shape(figure: Check) -> Check:
    """Return the check of a search.

    Args:
        figure: Checks a figure of quality.
    """
    candidate = having(
        path=text,
        recipe=text,
        precision=text,
        flash_bytes=amount,
        gzip_bytes=amount,
        codebook_bytes=optional(amount),
        arena_bytes=optional(amount),
        arena=optional(_ARENA),
        macs=amount,
        uncounted=every(text),
        parameters=amount,
        skipped=named(text),
        float_tensors=amount,
        quality=named(optional(figure)),
        agreement=named(optional(share)),
        latency_ms=optional(having(median=amount, p95=amount, runtime=text)),
        ops=every(having(name=text, count=amount)),
        layers=every(_LAYER),
        errors=named(text),
        checks=every(having(line=text, limit=number, value=optional(number), runtime=text, ok=flag)),
        emulated=optional(having(machine=text, agreement=share, difference=amount, steps=optional(amount))),
        verdict=text,
    )
    return having(
        task=text,
        source=text,
        budget=named(number),
        n=count,
        hardware=text,
        calibration=optional(having(rows=amount, sha256=text)),
        stages=every(having(name=text, runtime=text, quality=figure, low=optional(number), high=optional(number))),
        candidates=every(candidate),
        failed=every(having(recipe=text, error=text)),
        chosen=optional(text),
        closest=optional(having(path=text, misses=every(text), relax=optional(text), leave_out=every(text))),
    )
