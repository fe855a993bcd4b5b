"""What holds for every page this project writes."""

import re


def assert_needs_nothing_from_outside(page: str, pictures: int) -> None:
    """Every picture is in the page twice, light and dark, and nothing is fetched."""
    assert not re.search(r"https?://|<link|@import|url\(", page)
    sources = re.findall(r'src(?:set)?="([^"]{0,30})', page)
    assert len(sources) == 2 * pictures
    assert all(source.startswith("data:image/png;base64,") for source in sources)
