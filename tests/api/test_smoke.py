from tests.support import Client, constant_client, extract


def test_a_real_face_is_found(real: Client, hopper: bytes) -> None:
    answer = extract(real, hopper)
    assert [len(image["faces"]) for image in answer["data"]] == [1]
    assert len(answer["data"][0]["faces"][0]["vec"]) == 128


def test_constant_networks(hopper: bytes) -> None:
    with constant_client() as client:
        assert len(extract(client, hopper)["data"][0]["faces"]) == 2
