"""Training: one job a model and seed, resumable in a run directory that Snakemake leaves alone."""


rule train:
    input:
        data_files("train", "val"),
    output:
        weights="<results>/{model}/seed{seed}/weights.safetensors",
        log="<results>/{model}/seed{seed}/training.jsonl",
    log:
        "<results>/logs/train/{model}-seed{seed}.log",
    benchmark:
        "<results>/benchmarks/train/{model}-seed{seed}.tsv"
    retries: 1
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPUS,
        device=config["device"],
        data_root=str(DATA_ROOT),
    params:
        experiment=experiment_of,
        run_dir=run_directory,
        code=code("train"),
    shell:
        "python -m pose.train --experiment {params.experiment:q}"
        " --data-root {resources.data_root:q} --run-dir {params.run_dir}"
        " --weights {output.weights} --log {output.log}"
        " --device {resources.device} --workers $(({threads} - 1)) 2>&1 | tee {log}"
