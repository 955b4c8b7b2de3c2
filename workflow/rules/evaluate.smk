"""Prediction of the val split, and its scores, for each source of boxes; test-dev's archive.

Predictions and scores tell with which code they were made, and plan.check compares.
"""


rule infer:
    input:
        plan.data_files("val"),
        weights="<results>/{run}/seed{seed}/weights.safetensors",
    output:
        predictions=update(
            f"<results>/{{run,{plan.pattern('gt')}}}/seed{{seed}}/predictions_gt.npz"
        ),
    log:
        "<results>/logs/infer/{run}-seed{seed}.log",
    benchmark:
        "<results>/benchmarks/infer/{run}-seed{seed}.tsv"
    conda:
        "../../environment.yml"
    threads: loader_threads
    resources:
        gpu=plan.gpus,
        device=plan.device,
        data_root=plan.data_root,
    params:
        experiment=plan.experiment,
        detections=[],
    shell:
        "python workflow/scripts/launch.py {resources.gpu:q} {threads} pose.infer --experiment {params.experiment:q}"
        " --weights {input.weights:q} --data-root {resources.data_root:q} {params.detections:q}"
        " --output {output.predictions:q} --device {resources.device:q}"
        " 2>&1 | tee {log:q}"


# One process for both sources of boxes: starting Python and building the net take seconds.
use rule infer as infer_both with:
    output:
        predictions=update(
            f"<results>/{{run,{plan.pattern('gt', 'det')}}}/seed{{seed}}/predictions_det.npz"
        ),
        gt=update(
            f"<results>/{{run,{plan.pattern('gt', 'det')}}}/seed{{seed}}/predictions_gt.npz"
        ),
    params:
        experiment=plan.experiment,
        detections=lambda wildcards, output: plan.both_boxes(wildcards, output.gt),


rule evaluate:
    input:
        plan.data_files("val"),
        predictions="<results>/{run}/seed{seed}/predictions_{boxes}.npz",
    output:
        metrics="<results>/{run}/seed{seed}/metrics_{boxes}.json",
        persons="<results>/{run}/seed{seed}/persons_{boxes}.parquet",
    log:
        "<results>/logs/evaluate/{run}-seed{seed}-{boxes}.log",
    benchmark:
        "<results>/benchmarks/evaluate/{run}-seed{seed}-{boxes}.tsv"
    conda:
        "../../environment.yml"
    params:
        arguments=plan.scoring,
    shell:
        "python -m pose.evaluate {params.arguments:q} --predictions {input.predictions:q}"
        " --output {output.metrics:q} --per-person {output.persons:q} > {log:q} 2>&1"


use rule infer as infer_test_dev with:
    input:
        plan.data_files("test-dev"),
        weights="<results>/{run}/seed{seed}/weights.safetensors",
    output:
        predictions=update("<results>/{run}/seed{seed}/predictions_test-dev.npz"),
    log:
        "<results>/logs/infer/{run}-seed{seed}-test-dev.log",
    benchmark:
        "<results>/benchmarks/infer/{run}-seed{seed}-test-dev.tsv"
    params:
        experiment=plan.experiment,
        detections=plan.test_dev,


rule submission:
    input:
        plan.data_files("test-dev"),
        predictions="<results>/{run}/seed{seed}/predictions_test-dev.npz",
    output:
        "<results>/{run}/seed{seed}/submission/person_keypoints_test-dev2017_{run}-seed{seed}_results.zip",
    log:
        "<results>/logs/submission/{run}-seed{seed}.log",
    benchmark:
        "<results>/benchmarks/submission/{run}-seed{seed}.tsv"
    conda:
        "../../environment.yml"
    params:
        arguments=plan.suppression,
        image_info=plan.image_info,
        folder=subpath(output[0], parent=True),
        code=plan.code("pose.evaluation.submission"),
    shell:
        "python -m pose.evaluation.submission --predictions {input.predictions:q}"
        " --image-info {params.image_info:q} --name {wildcards.run:q}-seed{wildcards.seed:q}"
        " --output-dir {params.folder:q} {params.arguments:q} > {log:q} 2>&1"
