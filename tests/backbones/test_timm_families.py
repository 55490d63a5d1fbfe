"""One model or more of each class of timm's: the maps are timm's own, and their declared shapes hold."""

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from helpers.marks import EXHAUSTIVE
from mmfusion.backbones import Timm
from mmfusion.backbones.timm_models import is_sequence

APART = {  # class of timm: models of it
    "ByobNet": "test_byobnet repvgg_a0 mobileone_s0 mobilevit_xxs",
    "CPUBone": "cpubone_nano",
    "CSATv2": "csatv2",
    "ConvNeXt": "test_convnext convnextv2_atto",
    "CspNet": "cs3darknet_focus_s",
    "DLA": "dla46x_c",
    "DPN": "dpn48b",
    "DaVit": "davit_tiny",
    "DenseNet": "densenet121",
    "EdgeNeXt": "edgenext_xx_small",
    "EfficientFormerV2": "efficientformerv2_s0",
    "EfficientNet": "test_efficientnet tf_efficientnet_lite0",
    "EfficientVit": "efficientvit_b0",
    "EfficientVitLarge": "efficientvit_l1",
    "EfficientVitMsra": "efficientvit_m0",
    "FastVit": "fastvit_t8",
    "FasterNet": "fasternet_t0",
    "FocalNet": "focalnet_tiny_srf",
    "GhostNet": "ghostnet_050",
    "GlobalContextVit": "gcvit_xxtiny",
    "HighPerfGpuNet": "hgnetv2_b0",
    "IFormer": "iformer_t",
    "InceptionResnetV2": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "InceptionV4": "inception_v4",
    "LCNetV2": "lcnetv2_small",
    "LowFormer": "lowformer_b0",
    "MambaOut": "test_mambaout",
    "MaxxVit": "test_coatnet maxvit_pico_rw_256",
    "MetaFormer": "poolformerv2_s12 caformer_s18",
    "MetaNeXt": "inception_next_atto",
    "MobileNetV3": "mobilenetv3_small_050 mobilenetv4_conv_small",
    "Nest": "nest_tiny",
    "NextViT": "nextvit_small",
    "NormFreeNet": "test_nfnet",
    "PyramidVisionTransformerV2": "pvt_v2_b0",
    "RDNet": "rdnet_tiny",
    "RegNet": "regnetx_002 regnety_002",
    "RepGhostNet": "repghostnet_050",
    "RepVit": "repvit_m1",
    "ResNet": "test_resnet res2net50d skresnet18 resnest14d",
    "ResNetV2": "resnetv2_18",
    "RexNet": "rexnet_100",
    "SENet": "legacy_seresnet18",
    "SHViT": "shvit_s1",
    "Sequencer2d": "sequencer2d_s",
    "StarNet": "starnet_s050",
    "SwiftFormer": "swiftformer_xs",
    "SwinTransformer": "swin_tiny_patch4_window7_224",
    "SwinTransformerV2": "swinv2_tiny_window8_256",
    "SwinTransformerV2Cr": "swinv2_cr_tiny_224",
    "TinyVit": "tiny_vit_5m_224",
    "VGG": "vgg11",
    "VovNet": "ese_vovnet19b_slim_dw",
}
WHOLE = {
    "Beit": "beit_base_patch16_224",
    "Cait": "cait_xxs24_224",
    "CoaT": "coat_tiny",
    "ConVit": "convit_tiny",
    "ConvMixer": "convmixer_768_32",
    "CrossVit": "crossvit_tiny_240",
    "CspNext": "cspnext_tiny",
    "EfficientFormer": "efficientformer_l1",
    "EfficientViM": "efficientvim_m1",
    "Eva": "vit_tiny_patch16_dinov3_qkvb vit_small_patch16_dinov3 eva02_tiny_patch14_224",
    "Hiera": "hiera_tiny_224",
    "HieraDet": "sam2_hiera_tiny",
    "HighResolutionNet": "hrnet_w18_small",
    "LevitDistilled": "levit_128s",
    "MlpMixer": "mixer_s32_224",
    "MultiScaleVit": "mvitv2_tiny",
    "PoolingVisionTransformer": "pit_ti_224",
    "SelecSls": "selecsls42",
    "TNT": "tnt_s_legacy_patch16_224",
    "TResNet": "tresnet_m",
    "Twins": "twins_svt_small",
    "VOLO": "volo_d1_224",
    "Visformer": "visformer_tiny",
    "VisionTransformer": "test_vit vit_small_patch14_reg4_dinov2 deit3_small_patch16_224 vit_tiny_r_s16_p8_224",
    "VisionTransformerDistilled": "deit_tiny_distilled_patch16_224",
    "VisionTransformerRelPos": "test_vit_relpos",
    "XceptionAligned": "xception41p",
    "Xcit": "xcit_nano_12_p8_224",
}
QUICK = (
    *("test_byobnet", "test_convnext", "test_efficientnet", "test_mambaout", "test_coatnet", "test_nfnet"),
    *("test_resnet", "test_vit", "test_vit_relpos", "dla46x_c", "edgenext_xx_small", "starnet_s050"),
)
# Names of their own, of stages, sizes, dimensions or classifiers; the others are like these or those above.
SLOW = (
    *("csatv2", "convmixer_768_32", "densenet121", "efficientvit_m0", "inception_v3", "maxvit_pico_rw_256"),
    *("resnetv2_18", "sequencer2d_s", "swin_tiny_patch4_window7_224", "vgg11", "cait_xxs24_224", "coat_tiny"),
    *("crossvit_tiny_240", "efficientformer_l1", "efficientvim_m1", "eva02_tiny_patch14_224", "hrnet_w18_small"),
    *("levit_128s", "mvitv2_tiny", "pit_ti_224", "vit_small_patch14_reg4_dinov2", "deit_tiny_distilled_patch16_224"),
)
NAMES = [
    pytest.param(kind, name, id=name, marks=() if name in QUICK else pytest.mark.slow if name in SLOW else EXHAUSTIVE)
    for kind, names in (APART | WHOLE).items()
    for name in names.split()
]
SIZES = {
    "convmixer_768_32": 35,  # patches of 7
    "csatv2": 64,
    "crossvit_tiny_240": 240,  # its branches see patches of 12 and 16 pixels
    "efficientformer_l1": 224,  # its last stage has a table for 7 x 7 positions
    "eva02_tiny_patch14_224": 28,
    "inception_resnet_v2": 96,
    "inception_v3": 96,
    "inception_v4": 96,
    "sequencer2d_s": 28,  # patches of 7
    "vit_small_patch14_reg4_dinov2": 28,
}
UNTRAINED = {"efficientvim_m1": ["model.weights"]}  # weighs the stages for the classifier
UNPADDED = ("inception_r", "inception_v", "pit_")  # these lose borders on the way


def size(name: str) -> tuple[int, int]:
    return (SIZES.get(name, 32),) * 2


def both(name: str, in_channels: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Timm, Any]:
    """Ours, and timm's own model with the same numbers, none of which is zero or one because networks start so."""
    fixed = timm.models.get_pretrained_cfg(name).fixed_input_size
    options = {"in_chans": in_channels} | ({"img_size": size(name)} if fixed else {})
    theirs = timm.create_model(name, **options)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
        for part in theirs.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 1.5)

    is_sequence(name)  # asks timm, once

    def create(asked: str, pretrained: bool = False, **given: Any) -> Any:
        assert (asked, pretrained, given) == (name, False, options)
        return copy.deepcopy(theirs)

    monkeypatch.setattr(timm, "create_model", create)
    return Timm(name, in_channels=in_channels, size=size(name), n_stages=min(4, len(theirs.feature_info))), theirs


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_family_maps_match_timm(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_channels = 3 if name == "csatv2" else 5  # csatv2 turns RGB into luminance and colour
    encoder, theirs = both(name, in_channels, monkeypatch)
    assert type(theirs).__name__ == kind
    x = torch.rand(2, in_channels, *size(name))

    # The values are timm's own.
    config = theirs.pretrained_cfg
    mean, std = (torch.tensor((*config[key], *config[key])[:in_channels]).view(1, -1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        maps = encoder.eval()(x)
        every = theirs.eval().forward_intermediates((x - mean) / std, intermediates_only=True)
    expected = [every[level] for level in encoder._levels]
    assert len(maps) == len(expected) == encoder.n_stages
    assert all(torch.equal(one, other) for one, other in zip(maps, expected, strict=True))

    # The declared channels and reductions hold.
    assert encoder.channels == tuple(m.shape[1] for m in maps)
    slack = 4.5 if name.startswith(UNPADDED) else 1
    for m, reduction in zip(maps, encoder.reductions, strict=True):
        assert all(abs(n / r - k) < slack for n, r, k in zip(size(name), reduction, m.shape[2:], strict=True))

    # Stage by stage it is the same, where that is possible.
    if kind in APART:
        with torch.no_grad():
            y = encoder.stem(x)
            for i, m in enumerate(maps):
                y = encoder.stage(i, y)
                assert torch.equal(y, m)
    else:
        with pytest.raises(ValueError, match=f"'{name}' cannot be taken apart"):
            encoder.stem(x)

    # Every parameter learns.
    encoder.train()
    loss: Tensor = sum(m.square().mean() for m in encoder(x))
    loss.backward()
    untrained = [key for key, p in encoder.named_parameters() if not p.requires_grad]
    assert untrained == UNTRAINED.get(name, [])
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == untrained
