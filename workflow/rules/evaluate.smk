"""Prediction of the val split, and its scores, for each source of boxes; test-dev's archive."""


rule infer:
    input:
        data_files("val"),
        weights="<results>/{run}/seed{seed}/weights.safetensors",
    output:
        "<results>/{run}/seed{seed}/predictions_{boxes}.npz",
    log:
        "<results>/logs/infer/{run}-seed{seed}-{boxes}.log",
    benchmark:
        "<results>/benchmarks/infer/{run}-seed{seed}-{boxes}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPUS,
        device=config["device"],
        data_root=data_root,
    params:
        experiment=experiment_of,
        detections=detections_argument,
        code=code_of_run("infer"),
    shell:
        "python workflow/scripts/launch.py {resources.gpu} pose.infer --experiment {params.experiment:q}"
        " --weights {input.weights} --data-root {resources.data_root:q} {params.detections}"
        " --output {output} --device {resources.device} --workers $(({threads} - 1))"
        " 2>&1 | tee {log}"


rule evaluate:
    input:
        data_files("val"),
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
        arguments=evaluation_arguments,
        code=code("evaluate"),
    shell:
        "python -m pose.evaluate {params.arguments} --predictions {input.predictions}"
        " --output {output.metrics} --per-person {output.persons} > {log} 2>&1"


use rule infer as infer_test_dev with:
    input:
        data_files("test-dev"),
        weights="<results>/{run}/seed{seed}/weights.safetensors",
    output:
        "<results>/{run}/seed{seed}/predictions_test-dev.npz",
    log:
        "<results>/logs/infer/{run}-seed{seed}-test-dev.log",
    benchmark:
        "<results>/benchmarks/infer/{run}-seed{seed}-test-dev.tsv"
    params:
        experiment=experiment_of,
        detections=test_dev_argument,
        code=code_of_run("infer"),


rule submission:
    input:
        data_files("test-dev"),
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
        arguments=suppression_arguments,
        image_info=image_info,
        code=code("submission"),
    shell:
        "python -m pose.evaluation.submission --predictions {input.predictions}"
        " --image-info {params.image_info:q} --name {wildcards.run}-seed{wildcards.seed}"
        " --output-dir $(dirname {output}) {params.arguments} > {log} 2>&1"
