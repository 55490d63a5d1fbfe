"""Synthetic datasets: cases drawn from a seed, with the best possible AUC known.

``synthetic_derm7pt`` (:mod:`mmfusion.data.synthetic.synthetic_derm7pt`) draws two views of a skin lesion, two classes;
``synthetic_men`` (:mod:`mmfusion.data.synthetic.synthetic_men`) three MRI sequences of a brain tumor, three classes.
Both have the same controls:

==================== ===============================================================================================
``preset``           ``"default"``; ``"additive"``, without an interaction; ``"pure-interaction"``, where either
                     modality alone has an AUC of exactly 0.5 and only their fusion has more
``coarse``, ``fine`` weights of the image cues, in log odds; 0 disables one
``tabular``          weight of the cues of the table alone
``interaction``      weight of the interaction of image and table
``prevalence``       share of melanomas, or of each of three classes
``label_noise``      share of wrong labels
``missing``          share of empty cells
``missing_images``   share of absent images, for each image modality by itself
``data_seed``        other cases from the same distribution
==================== ===============================================================================================

``bundle.ceilings`` has the best AUC of any image-only, table-only and fused model, exact under all of these; see
:mod:`mmfusion.data.synthetic.latents`.
"""
