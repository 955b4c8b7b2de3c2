"""Training: one job a run and seed, resumable in a run directory that Snakemake leaves alone."""


rule train:
    input:
        data_files("train", "val"),
    output:
        weights="<results>/{run}/seed{seed}/weights.safetensors",
        log="<results>/{run}/seed{seed}/training.jsonl",
        performance="<results>/{run}/seed{seed}/performance.jsonl",
    log:
        "<results>/logs/train/{run}-seed{seed}.log",
    benchmark:
        "<results>/benchmarks/train/{run}-seed{seed}.tsv"
    retries: 2
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPUS,
        device=config["device"],
        data_root=data_root,
    params:
        experiment=experiment_of,
        run_dir=run_directory,
        code=code_of_run("train"),
    shell:
        "python workflow/scripts/launch.py {resources.gpu} pose.train"
        " --experiment {params.experiment:q}"
        " --data-root {resources.data_root:q} --run-dir {params.run_dir} --wait"
        " --weights {output.weights} --training-log {output.log}"
        " --performance {output.performance}"
        " --device {resources.device}"
        " --workers $(({threads} / ({resources.gpu} > 1 ? {resources.gpu} : 1) - 1))"
        " 2>&1 | tee {log}"
