import pytest

from ralf_hub.connectors.urls import check_http_url, place


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y=1", "HTTP://127.0.0.1:8080", "http://[::1]:1/", " https://a.example\n"]
)
def test_addresses_that_can_be_called(url: str) -> None:
    assert check_http_url(url) == url.strip()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must start with"),
        ("a.example/hook-s3cret", "must start with"),
        ("ftp://a.example/s3cret", "must start with"),
        ("https:///s3cret", "names no host"),
        ("https://a.example:99999/s3cret", "not valid"),
        ("https://[half/s3cret", "not valid"),
        ("https://a.example/s3 cret", "white space"),
        ("https://a.example/\x00s3cret", "control characters"),
        ("https://a.example/#s3cret", "'#'"),
    ],
)
def test_other_addresses_are_refused_without_showing_them(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        check_http_url(url)
    assert "s3" not in str(caught.value)


def test_places_are_told_apart_and_tell_nothing() -> None:
    assert place("slack", "https://a/s3cret") == place("slack", "https://a/s3cret")
    assert len({place("slack", "a", "b"), place("slack", "ab"), place("webhook", "a", "b")}) == 3
    assert "s3cret" not in place("slack", "https://a/s3cret")
