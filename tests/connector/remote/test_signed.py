"""Signed addresses: what names the image stays, what signs it goes, in what is stored and in what is shown."""

import pytest

from connector.printable import mask_credentials
from connector.remote.signed import unsigned

SIGNED = {
    "S3": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F1&X-Amz-Expires=900&X-Amz-Signature=SECRET",
    "S3, in small letters": "x-amz-signature=SECRET&x-amz-security-token=SECRET",
    "S3, the older way": "AWSAccessKeyId=AK&Expires=1714600800&Signature=SECRET%3D",
    "Google": "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date=20240501T220000Z&X-Goog-Signature=SECRET",
    "Google, the older way": "GoogleAccessId=a%40b&Expires=1714600800&Signature=SECRET",
    "CloudFront": "Expires=1714600800&Signature=SECRET&Key-Pair-Id=SECRET",
    "CloudFront, with a policy": "Policy=SECRET&Signature=SECRET&Key-Pair-Id=SECRET",
    "Azure": "sv=2022-11-02&st=2024-05-01&se=2024-05-02&sr=b&sp=r&spr=https&sig=SECRET%3D",
}


@pytest.mark.parametrize("kind", SIGNED)
def test_an_address_is_named_without_its_signature(kind: str) -> None:
    assert unsigned(f"https://h.example/a%20b.jpg?{SIGNED[kind]}") == "https://h.example/a%20b.jpg"
    kept = f"https://h.example/a.jpg?versionId=7&{SIGNED[kind]}&w=100#top"
    assert unsigned(kept) == "https://h.example/a.jpg?versionId=7&w=100#top"


@pytest.mark.parametrize("kind", SIGNED)
def test_a_signature_is_not_shown(kind: str) -> None:
    assert "SECRET" not in mask_credentials(f"GET https://h.example/a.jpg?w=1&{SIGNED[kind]}: refused")


@pytest.mark.parametrize(
    "address",
    [
        "https://h.example/a.jpg",
        "https://h.example/a.jpg?sv=1&se=2&w=100",  # nothing of Azure's without its sig
        "https://h.example/a.jpg?design=2&signatures=no",
        "https://h.example/a.jpg?",
        "https://h.example/?a&&b=",
        "/photos/a.jpg?sig=1",
        "s3://bucket/a.jpg?sig=1",
        "file:///photos/a.jpg%3Fsig=1",
    ],
)
def test_any_other_address_stays_as_it_is(address: str) -> None:
    assert unsigned(address) == address


def test_settings_name_further_parameters() -> None:
    assert unsigned("https://h/a.jpg?token=1&HD-x=2&w=3", more=["Token", "hd-*"]) == "https://h/a.jpg?w=3"
