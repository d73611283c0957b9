import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from modalhash.encoders import ENCODERS, load_encoder
from modalhash.encoders.loading import IMAGE_TOWERS, TEXT_TOWERS, split_pair
from modalhash.errors import (
    DamagedArtifactError,
    FeatureError,
    InputError,
    ModelUnavailableError,
    SettingError,
    UnknownNameError,
)


def test_every_encoder_has_a_tower_and_a_line() -> None:
    assert set(ENCODERS) == set(IMAGE_TOWERS) | set(TEXT_TOWERS)
    assert all(ENCODERS.values())


def test_importing_encoders_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, modalhash.encoders as e; e.load_encoder('precomputed+bow'); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_offline_gives_both_towers() -> None:
    encoder = load_encoder("offline")
    assert (encoder.image.width, encoder.text.width) == (1280, 384)
    assert encoder.identity()["name"] == "offline"


def test_a_pair_takes_pictures_from_the_first_and_texts_from_the_second() -> None:
    encoder = load_encoder("offline+bow:500,counts")
    assert encoder.name == "offline+bow:500,counts"
    assert encoder.image.identity()["name"] == "efficientnet-lite0"
    assert encoder.text.identity()["name"] == "bow"
    assert encoder.image.fingerprint() == load_encoder("offline").image.fingerprint()


def test_fitted_states_come_back() -> None:
    encoder = load_encoder("precomputed+bow")
    fitted = encoder.text.fit(["a dog", "a dog"])
    again = load_encoder(
        "precomputed+bow", image_state={"width": 12}, text_state=dict(fitted.state())
    )
    assert again.text.fingerprint() == fitted.fingerprint()
    assert again.image.width == 12
    assert again.image.state() == {"width": 12}


@pytest.mark.parametrize("width", [0.5, "12", -1, True])
def test_damaged_widths_are_refused(width: object) -> None:
    message = (
        f"the saved state of the precomputed encoder is damaged: width is {width!r}, expected a "
        "positive number"
    )
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        load_encoder("precomputed", text_state={"width": width})


def test_precomputed_towers_refuse_raw_input() -> None:
    encoder = load_encoder("precomputed")
    message = (
        "the precomputed encoder can't encode {}: the features came as arrays. Encode with arrays "
        "(`encode_features`), or train with an encoder such as 'offline' or 'clip'"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message.format('pictures'))}$"):
        encoder.image.prepare(Image.new("RGB", (2, 2)))
    with pytest.raises(FeatureError, match=f"^{re.escape(message.format('pictures'))}$"):
        encoder.image.encode([])
    with pytest.raises(FeatureError, match=f"^{re.escape(message.format('texts'))}$"):
        encoder.text.encode(["a dog"])


@pytest.mark.parametrize("name", ["ofline", "ofline+bow", "bow+ofline", "precomputed+ofline"])
def test_unknown_names_list_the_known_ones(name: str) -> None:
    message = (
        "unknown encoder 'ofline': did you mean 'offline'? Known: "
        "bert, bow, clip, offline, offline-shared, precomputed, vit"
    )
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        load_encoder(name)


def test_bow_alone_has_no_image_tower() -> None:
    message = "encoder 'bow' has no image tower: pair it, as in 'offline+bow'"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_encoder("bow:100")


def test_options_of_an_encoder_without_any_are_refused() -> None:
    message = "encoder 'offline' takes no options, but 'large' was given: write just 'offline'"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        load_encoder("offline:large")


def test_a_plus_sign_in_a_folder_is_no_pair(tmp_path: Path) -> None:
    folder = tmp_path / "a+bow"
    assert split_pair(f"clip:{folder}") == (f"clip:{tmp_path}/a", "bow")
    folder.mkdir()
    assert split_pair(f"clip:{folder}") == (f"clip:{folder}", f"clip:{folder}")
    with pytest.raises(ModelUnavailableError, match=re.escape(f"the model {folder} can't be")):
        load_encoder(f"clip:{folder}")
