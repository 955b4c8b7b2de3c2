"""Training: one job a run and seed, resumable in a run directory that Snakemake leaves alone.

The earlier weights and logs stay until the new ones are there: ``update``. They tell what they were
made from, and plan.check compares: parameters that take ``output`` are no reason to run again.
"""


rule train:
    input:
        what_is_stale,
        plan.data_files("train", "val"),
    output:
        weights=update("<results>/{run}/seed{seed}/weights.safetensors"),
        log=update("<results>/{run}/seed{seed}/training.jsonl"),
        performance=update("<results>/{run}/seed{seed}/performance.jsonl"),
    log:
        "<results>/logs/train/{run}-seed{seed}.log",
    benchmark:
        "<results>/benchmarks/train/{run}-seed{seed}.tsv"
    retries: 2
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=plan.gpus,
        device=plan.device,
        data_root=plan.data_root,
    params:
        experiment=lambda wildcards, output: plan.experiment(wildcards),
        run_dir=lambda wildcards, output: plan.run_directory(wildcards),
    shell:
        "python workflow/scripts/launch.py {resources.gpu:q} pose.train"
        " --experiment {params.experiment:q}"
        " --data-root {resources.data_root:q} --run-dir {params.run_dir:q} --wait"
        " --weights {output.weights:q} --training-log {output.log:q}"
        " --performance {output.performance:q}"
        " --device {resources.device:q}"
        " --workers $(({threads} / ({resources.gpu:q} > 1 ? {resources.gpu:q} : 1) - 1))"
        " 2>&1 | tee {log:q}"
