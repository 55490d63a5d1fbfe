"""A test bench for fusion: cases made from a seed whose label no modality decides alone, with the best AUC known.

``synthetic_derm7pt`` (:mod:`mmfusion.data.synthetic.synthetic_derm7pt`) draws two views of a skin lesion, two classes;
``synthetic_men`` (:mod:`mmfusion.data.synthetic.synthetic_men`) three MRI sequences of a brain tumour, three classes.
Both have the same controls:

==================== ===============================================================================================
``preset``           ``"default"``; ``"additive"``, without an interaction; ``"pure-interaction"``, where either
                     modality alone is at AUC 0.5 exactly and only their fusion sees anything
``coarse``, ``fine`` how much the image cues weigh, in log odds; 0 turns one off
``tabular``          how much the table's own cues weigh
``interaction``      how much what only image and table together show weighs
``prevalence``       share of melanomas, or of each of three classes
``label_noise``      share of wrong labels
``missing``          share of empty cells
``missing_images``   share of absent images, for each image modality by itself
``data_seed``        other cases from the same distribution
==================== ===============================================================================================

``bundle.ceilings`` has the best AUC of any image-only, table-only and fused model, exact under all of these; see
:mod:`mmfusion.data.synthetic.latents`.
"""
