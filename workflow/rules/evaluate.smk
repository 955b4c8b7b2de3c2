"""Prediction of the val split, and its scores, for each source of boxes."""


rule infer:
    input:
        data_files("val"),
        weights="<results>/{model}/seed{seed}/weights.safetensors",
    output:
        "<results>/{model}/seed{seed}/predictions_{boxes}.npz",
    log:
        "<results>/logs/infer/{model}-seed{seed}-{boxes}.log",
    benchmark:
        "<results>/benchmarks/infer/{model}-seed{seed}-{boxes}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPUS,
        device=config["device"],
        data_root=str(DATA_ROOT),
    params:
        experiment=experiment_of,
        detections=detections_argument,
        code=code("infer"),
    shell:
        "python -m pose.infer --experiment {params.experiment:q}"
        " --weights {input.weights} --data-root {resources.data_root:q} {params.detections}"
        " --output {output} --device {resources.device} --workers $(({threads} - 1)) 2>&1 | tee {log}"


rule evaluate:
    input:
        data_files("val"),
        predictions="<results>/{model}/seed{seed}/predictions_{boxes}.npz",
    output:
        "<results>/{model}/seed{seed}/metrics_{boxes}.json",
    log:
        "<results>/logs/evaluate/{model}-seed{seed}-{boxes}.log",
    benchmark:
        "<results>/benchmarks/evaluate/{model}-seed{seed}-{boxes}.tsv"
    conda:
        "../../environment.yml"
    params:
        arguments=evaluation_arguments,
        code=code("evaluate"),
    shell:
        "python -m pose.evaluate {params.arguments} --predictions {input.predictions}"
        " --output {output} > {log} 2>&1"
